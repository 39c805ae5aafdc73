package loader

import (
	"encoding/binary"
	"fmt"

	"github.com/cilium/ebpf"

	"tracer/internal/record"
)

// maxHeldQuestions bounds how many packets a scan asks after. A question takes some microseconds.
const maxHeldQuestions = 1024

// heldPackets asks, for one scan, which packets are held where nothing queues. Those beyond the bound count as gone.
type heldPackets struct {
	loader *Loader
	left   int
	err    error // the first
}

// ask tells whether the packet of a slot is still there; see bpf/held.bpf.h. What came in for the node itself at its only hook
// went to a socket, and is not asked for.
func (h *heldPackets) ask(key uint64, r *record.Record) bool {
	if h.left == 0 || h.err != nil {
		return false
	}
	h.loader.mu.Lock()
	defer h.loader.mu.Unlock()
	if h.loader.closed || r.Len == 1 && h.loader.addresses[r.Last.Destination.Addr().As16()] {
		return false
	}
	h.left--
	const ethernetBytes = 14 // the kernel takes an Ethernet header off
	answer, err := h.loader.objects.Held.Run(&ebpf.RunOptions{Data: binary.NativeEndian.AppendUint64(make([]byte, ethernetBytes), key)})
	if err != nil {
		h.err = fmt.Errorf("ask whether a packet is held: %w", err)
	}
	return answer == 1
}
