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

// Listeners reads the queues of the sockets that listen at these addresses. With SO_REUSEPORT one socket's are returned. On
// error the result holds those that could be read.
func (l *Loader) Listeners(where []ListenTarget) (map[ListenTarget]record.Listener, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found := make(map[ListenTarget]record.Listener)
	if l.closed || len(where) == 0 {
		return found, nil
	}
	// The program asks in the namespace of whoever runs it.
	return found, l.space.do(func() error {
		var errs []error
		for _, at := range where {
			query := at.query()
			run := ebpf.RunOptions{Data: query, DataOut: make([]byte, len(query))}
			listens, err := l.objects.Listener.Run(&run)
			if err != nil {
				errs = append(errs, fmt.Errorf("ask how full the queues of %v are: %w", at.Address, err))
			} else if listens == 1 && len(run.DataOut) == len(query) {
				found[at] = parseListener((*bpfobj.TracerListenerAnswer)(unsafe.Pointer(&run.DataOut[ethernetBytes])))
			}
		}
		return errors.Join(errs...)
	})
}

// query is what the program takes: a struct listener_query behind an empty Ethernet header, which the kernel removes from
// a packet. The answer comes in its place.
func (l *ListenTarget) query() []byte {
	q := bpfobj.TracerListenerQuery{Address: l.Address.Addr().As16(), Port: hostOrder(l.Address.Port()), Netns: uint32(l.Netns)}
	return append(make([]byte, ethernetBytes), unsafe.Slice((*byte)(unsafe.Pointer(&q)), unsafe.Sizeof(q))...)
}

const ethernetBytes = 14

// parseListener judges the queues as the kernel does: sk_acceptq_is_full() and, of half-open connections, tcp_conn_request().
func parseListener(a *bpfobj.TracerListenerAnswer) record.Listener {
	limited := a.SynLength >= a.AcceptLimit
	reserved := int64(a.MaxSynBacklog)-int64(a.SynLength) < int64(a.MaxSynBacklog>>2)
	return record.Listener{
		AcceptQueue: record.AcceptQueue{Length: a.AcceptLength, Limit: a.AcceptLimit, Full: a.AcceptLength > a.AcceptLimit},
		SYNQueue: record.SYNQueue{
			Length: a.SynLength, Limit: a.AcceptLimit, Backlog: a.MaxSynBacklog, Cookies: a.Syncookies != 0,
			Full: a.Syncookies == 0 && (limited || reserved),
		},
	}
}
