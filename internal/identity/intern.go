package identity

import "sync"

// maxInterned bounds an interner. When it is full it starts anew, which costs memory and nothing else.
const maxInterned = 1 << 16

// interner shares equal strings: namespaces, workloads and nodes are few. A decoded object's strings may hold more memory
// than they show.
type interner struct {
	mu      sync.Mutex
	strings map[string]string
}

// intern returns the shared copy of s.
func (i *interner) intern(s string) string {
	i.mu.Lock()
	defer i.mu.Unlock()
	if known, ok := i.strings[s]; ok {
		return known
	}
	if i.strings == nil || len(i.strings) >= maxInterned {
		i.strings = make(map[string]string)
	}
	i.strings[s] = s
	return s
}
