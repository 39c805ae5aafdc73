package loader

import (
	"errors"
	"fmt"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// PodEnd is a pod's own end of its device, as the programs met it: packets came out of its qdisc, or were lost there.
type PodEnd struct {
	netdev.PodEnd // of its qdisc only the kind; Queues is not set
	// Dequeued is when a packet last came out of its qdisc, by CLOCK_MONOTONIC; 0 if none did.
	Dequeued time.Duration
}

// TakePodEnds returns those that were met since the last call, by the index of the pod's device on this side. The programs
// tell of them anew as they meet them again.
func (l *Loader) TakePodEnds() (map[int]PodEnd, error) {
	found := map[int]PodEnd{}
	var ifindex uint32
	var met bpfobj.TracerPodEnd
	all := l.objects.PodEnds.Iterate()
	for all.Next(&ifindex, &met) {
		found[int(ifindex)] = PodEnd{
			PodEnd: netdev.PodEnd{
				Name: text(met.Name), Ifindex: int(met.Ifindex), Netns: uint64(met.Netns), Root: netdev.Qdisc{Kind: text(met.Qdisc)},
			},
			Dequeued: time.Duration(met.DequeuedNs),
		}
	}
	err := all.Err()
	for ifindex := range found {
		if e := l.objects.PodEnds.Delete(uint32(ifindex)); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, e)
		}
	}
	if err != nil {
		return found, fmt.Errorf("read which pods have a queue of their own: %w", err)
	}
	return found, nil
}

// text is a device's name in a pod, which who may administer the pod's network chooses: the kernel refuses white space, "/" and ":" only.
func text(from [16]int8) string {
	var to [16]byte
	for i, c := range from {
		to[i] = byte(c)
	}
	return record.Printable(unix.ByteSliceToString(to[:]))
}
