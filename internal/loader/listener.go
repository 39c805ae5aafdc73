package loader

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"github.com/cilium/ebpf"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// ListenTarget is an address and a port at which a pod may listen for TCP connections.
type ListenTarget struct {
	Netns   int // id of the pod's namespace, as the traced one has it
	Address netip.AddrPort
}

// AcceptQueues reads the accept queues of the sockets that listen at these addresses. With SO_REUSEPORT one socket's is
// returned. On error the result holds those that could be read.
func (l *Loader) AcceptQueues(where []ListenTarget) (map[ListenTarget]record.AcceptQueue, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(map[ListenTarget]record.AcceptQueue)
	if l.closed || len(where) == 0 {
		return found, nil
	}
	// The program asks in the namespace of whoever runs it.
	return found, l.space.do(func() error {
		var errs []error
		for _, at := range where {
			answer, err := l.objects.Listener.Run(&ebpf.RunOptions{Data: at.query()})
			if err != nil {
				errs = append(errs, fmt.Errorf("ask how full the queue of %v is: %w", at.Address, err))
			} else if b, ok := parseBacklog(answer); ok {
				found[at] = b
			}
		}
		return errors.Join(errs...)
	})
}

// query is what the program takes: a struct listener_query behind an empty Ethernet header, which the kernel removes from
// a packet.
func (l *ListenTarget) query() []byte {
	q := bpfobj.TracerListenerQuery{Address: l.Address.Addr().As16(), Port: hostOrder(l.Address.Port()), Netns: uint32(l.Netns)}
	const ethernetBytes = 14
	return append(make([]byte, ethernetBytes), unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q))...)
}

// parseBacklog takes the program's answer apart: bit 31 that a socket listens, bit 30 that the queue is full, then 15 bits
// of what waits, and 15 of how much may.
func parseBacklog(answer uint32) (record.AcceptQueue, bool) {
	return record.AcceptQueue{Length: answer >> 15 & 0x7fff, Limit: answer & 0x7fff, Full: answer>>30&1 == 1}, answer>>31 == 1
}
