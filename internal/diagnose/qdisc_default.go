package diagnose

import (
	"slices"

	"tracer/internal/netdev"
)

// DefaultQdisc is the root qdisc that a device has unless someone sets another one; "" where that depends on hardware and
// sysctl.
func DefaultQdisc(d *netdev.Device) string {
	if d.Role.NoQueue() && !waitsForReader(d.Kind) {
		return "noqueue"
	}
	return ""
}

// waitsForReader names the kinds of tunnel whose other end is a program: the kernel queues for it.
func waitsForReader(kind string) bool { return kind == "tun" || kind == "ppp" }

// has tells whether one of the kinds is somewhere in the tree.
func has(q netdev.Qdisc, kinds ...string) bool {
	return !q.Class && slices.Contains(kinds, q.Kind) ||
		slices.ContainsFunc(q.Children, func(child netdev.Qdisc) bool { return has(child, kinds...) })
}

// onlyLeaves tells whether all qdiscs of the tree that hold packets are of these kinds.
func onlyLeaves(q *netdev.Qdisc, kinds ...string) bool {
	for leaf := range q.Leaves() {
		if !slices.Contains(kinds, leaf.Kind) {
			return false
		}
	}
	return true
}

// classful tells whether the tree has classes to show.
func classful(q netdev.Qdisc) bool {
	return q.Class || slices.ContainsFunc(q.Children, classful)
}

// childKinds appends the kinds of the qdiscs under others, each once.
func childKinds(children []netdev.Qdisc, kinds []string) []string {
	for _, child := range children {
		if !child.Class && !slices.Contains(kinds, child.Kind) {
			kinds = append(kinds, child.Kind)
		}
		kinds = childKinds(child.Children, kinds)
	}
	return kinds
}
