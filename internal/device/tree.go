package device

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/netdev"
)

// Parents that are no handle (include/uapi/linux/pkt_sched.h).
const (
	parentRoot    = 0xffffffff // TC_H_ROOT
	parentIngress = 0xfffffff1 // TC_H_INGRESS, and TC_H_CLSACT
)

// node is one qdisc or class as the kernel lists it: with its parent's handle rather than its children.
type node struct {
	ifindex int
	handle  uint32 // major<<16 | minor; the minor of a qdisc is 0
	parent  uint32
	qdisc   netdev.Qdisc
}

// ingress tells of an ingress or clsact qdisc, which queues nothing.
func (n node) ingress() bool { return n.parent == parentIngress }

// tree builds the qdisc tree of one device. A qdisc hangs under the class that its parent handle names, or, where
// that class is not listed (a band of prio, a queue of mq), under the qdisc that has the class. A device without a
// root qdisc has no queue.
func tree(qdiscs, classes []node) netdev.Qdisc {
	nodes := slices.DeleteFunc(slices.Concat(qdiscs, classes), node.ingress)
	root := -1
	owner := make(map[uint32]int) // major of the handle → qdisc
	class := make(map[uint32]int) // handle → class
	for i, n := range nodes {
		switch {
		case n.qdisc.Class:
			class[n.handle] = i
		case n.parent == parentRoot:
			root = i
			owner[n.handle>>16] = i // 0 for an mq that the kernel made
		case n.handle != 0:
			owner[n.handle>>16] = i
		}
	}
	if root < 0 {
		return netdev.Qdisc{Kind: "noqueue"}
	}

	children := make(map[int][]int)
	for i, n := range nodes {
		if i == root {
			continue
		}
		if parent, ok := class[n.parent]; ok && parent != i {
			children[parent] = append(children[parent], i)
			continue
		}
		major := n.parent >> 16
		if n.qdisc.Class { // of a class at the top the parent is parentRoot
			major = n.handle >> 16
		}
		if parent, ok := owner[major]; ok && parent != i {
			children[parent] = append(children[parent], i)
		}
	}
	return build(nodes, children, root)
}

func build(nodes []node, children map[int][]int, i int) netdev.Qdisc {
	q := nodes[i].qdisc
	q.Handle = handle(nodes[i].handle)
	below := children[i]
	slices.SortFunc(below, func(a, b int) int {
		return cmp.Or(cmp.Compare(nodes[a].parent, nodes[b].parent), cmp.Compare(nodes[a].handle, nodes[b].handle))
	})
	for _, child := range below {
		q.Children = append(q.Children, build(nodes, children, child))
	}
	return q
}

// handle writes a handle as tc does: "10:", "10:1".
func handle(h uint32) string {
	if h&0xffff == 0 {
		return fmt.Sprintf("%x:", h>>16)
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}
