package loader

import (
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"

	"tracer/internal/bpfobj"
)

// Listener is where a pod may listen for TCP connections.
type Listener struct {
	Netns   int // id of the pod's namespace, as the traced one has it
	Address netip.AddrPort
}

// Backlog is how many connections wait for an application to accept them, and how many may.
type Backlog struct{ Waiting, Most uint32 }

// Overfull tells whether the kernel throws away who asks for one more connection (sk_acceptq_is_full()).
func (b Backlog) Overfull() bool { return b.Waiting > b.Most }

// Backlogs are those of the sockets that listen there; where none does, there is none. Of several that share a port
// (SO_REUSEPORT) it is one's.
func (l *Loader) Backlogs(where []Listener) (map[Listener]Backlog, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(map[Listener]Backlog)
	if l.closed || len(where) == 0 {
		return found, nil
	}
	// The program asks in the namespace of whoever runs it.
	return found, l.space.do(func() error {
		for _, at := range where {
			answer, err := l.objects.Listener.Run(&ebpf.RunOptions{Data: at.question()})
			if err != nil {
				return fmt.Errorf("ask how full the queue of %v is: %w", at.Address, err)
			}
			if b, ok := parseBacklog(answer); ok {
				found[at] = b
			}
		}
		return nil
	})
}

// question is what the program takes: a struct listener_question.
func (l *Listener) question() []byte {
	q := bpfobj.TracerListenerQuestion{Address: l.Address.Addr().As16(), Port: hostOrder(l.Address.Port()), Netns: uint32(l.Netns)}
	return unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q))
}

// parseBacklog takes the program's answer apart: bit 31 that somebody listens, then 15 bits of what waits, and 16 of how
// much may.
func parseBacklog(answer uint32) (Backlog, bool) {
	return Backlog{Waiting: answer >> 16 & 0x7fff, Most: answer & 0xffff}, answer>>31 == 1
}
