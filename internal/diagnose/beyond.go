package diagnose

import (
	"cmp"
	"fmt"

	"tracer/internal/aggregate"
)

// observer is who tells of what is beyond this node, at the beginning of a sentence: it is not at fault.
func (w *window) observer() string { return cmp.Or(w.node, "this node") + " sees" }

// leaves says where packets of a pair were seen last on this node: "after it left eth0".
func (w *window) leaves(p *aggregate.Pair) string {
	device := ""
	if p.Ends != nil {
		if d := w.device(p.Ends.To); d != nil && d.Role.LeadsOut() {
			device = d.Name
		}
	}
	return "left " + cmp.Or(device, w.uplink(), "this node")
}

// peerNode is the node of whom a pair's packets go to; "" if it is not known.
func peerNode(p *aggregate.Pair) string {
	if p.Ends == nil {
		return ""
	}
	return p.Ends.Dst.Node
}

// bothNodes names the two nodes that a pair's packets go between, as far as they are known.
func (w *window) bothNodes(p *aggregate.Pair) string {
	return fmt.Sprintf("%s and %s", cmp.Or(w.node, "this node"), cmp.Or(peerNode(p), "the node of "+qualified(p.DstNamespace, p.DstWorkload)))
}

// seenHere is what this node saw of a pair, so that two nodes that each name the other do not send the reader in a circle.
func (w *window) seenHere(p *aggregate.Pair) string {
	var back float64
	if r := w.reverse(p); r != nil {
		back = r.Packets
	}
	return fmt.Sprintf("what this node saw: %s %s, and %s came back; if the other node says that all it sends leaves it too, the network between %s is at fault",
		packets(uint64(p.Packets)), w.leaves(p), group(uint64(back)), w.bothNodes(p))
}
