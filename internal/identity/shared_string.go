package identity

import "unique"

// sharedString is a string of which one copy is kept, however many have it: namespaces, workloads and nodes are few. The zero value is
// "". Two are equal if their strings are.
type sharedString struct{ handle unique.Handle[string] }

func share(s string) sharedString {
	if s == "" {
		return sharedString{}
	}
	return sharedString{unique.Make(s)}
}

func (s sharedString) String() string {
	if s == (sharedString{}) {
		return ""
	}
	return s.handle.Value()
}
