package loader

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/rtnl"
)

// Our filters on kernels without TCX are told from anybody else's by handle and name. The handles differ, since an ingress
// qdisc has one list for both directions.
const (
	ingressHandle = 0x74726163 // "trac"
	egressHandle  = 0x74726164
	filterPrefix  = "tracer/"
)

// filterPriority is where our filter goes unless there is a reason for another place. Priority 1 is left to others: it is
// what they ask for most, and the kernel would refuse them all but bpf filters beside ours.
const filterPriority = 2

// markerChain marks a clsact qdisc as made by us: an empty chain of filters that nothing jumps to. It outlives a deletion of
// all filters, and goes with the qdisc: one that others made in its place is told by that.
const markerChain = 0x747263 // "trc"

var errIngressQdisc = fmt.Errorf("%w: another program's ingress qdisc is there and excludes clsact", errUnsupported)

// filterChain is a hook behind the clsact or ingress qdisc of a device. Our filter stays after a SIGKILL, until it is swept.
type filterChain struct {
	hook    Hook
	program *ebpf.Program
	// note remembers how far we are with making a qdisc: a tracer may be killed at any point of it.
	note func(qdiscState) error
	tc   *tcReader
	// hasTCX tells that the kernel has TCX, whose programs run before all filters.
	hasTCX bool

	attached bool
	priority uint16
}

// qdiscState is how far the making of a clsact qdisc is.
type qdiscState int

const (
	qdiscBegun    qdiscState = iota // to be made; a note of what was never made does no harm
	qdiscMarked                     // made, with its mark
	qdiscOfOthers                   // another program was faster
)

func (c *filterChain) look() (position, error) {
	filters, err := c.tc.filters(c.hook.Ifindex, c.hook.Name)
	if err != nil {
		return position{}, err
	}
	p := c.find(filters)
	if c.attached = p.attached; !p.attached {
		kind, err := c.tc.qdisc(c.hook.Ifindex)
		switch {
		case err != nil:
			return position{}, err
		case kind == "ingress" && c.hook.Name == "egress":
			return position{missing: errIngressQdisc.Error()}, nil
		case kind == "":
			p.missing, p.unsettled = "its qdisc was deleted", true
		}
	}
	if c.hasTCX {
		programs, _ := tcxPrograms(c.hook) // none where the kernel refuses to list them as it refused ours
		for _, program := range programs {
			p.before = append(p.before, "TCX "+programName(program.ID)+" runs")
		}
	}
	return p, nil
}

// find tells where our filter stands among those of the hook.
func (c *filterChain) find(filters []tcFilter) position {
	p := position{missing: "its filter was deleted", better: true}
	best := bestPriority(filters)
	var first []*tcFilter
	for i := range filters {
		f := &filters[i]
		switch {
		case f.chain != 0:
		case f.ours() && f.handle == handleOf(c.hook.Name):
			c.priority = f.priority
			p.attached, p.missing = true, ""
			p.better = f.priority != best || i > 0 && filters[i-1].rule && filters[i-1].priority == best
		case !p.attached && f.hides() && !f.ours():
			first = append(first, f)
		}
	}
	if p.attached {
		p.before = texts(first)
	}
	return p
}

// before are the filters of others that a filter of ours with a priority has to stand behind.
func before(filters []tcFilter, priority uint16) (found []*tcFilter) {
	for i := range filters {
		if f := &filters[i]; f.chain == 0 && f.priority < priority && f.hides() && !f.ours() {
			found = append(found, f)
		}
	}
	return found
}

func texts(filters []*tcFilter) (list []string) {
	for _, f := range filters {
		list = append(list, f.String())
	}
	return list
}

// bestPriority is the one at which a filter of ours comes first, or as far to the front as it can. Priority 1 is taken where
// the kernel gives it to others beside ours all the same, or where something would run before ours otherwise.
func bestPriority(filters []tcFilter) uint16 {
	shared := map[uint16]bool{} // by priorities that others hold
	for i := range filters {
		f := &filters[i]
		switch {
		case f.chain != 0 || f.ours() || f.sharesPriority() && !f.rule: // the last: a list of bpf filters, ours perhaps
		default:
			shared[f.priority] = f.sharesPriority()
		}
	}
	free := func(priority uint16) bool {
		share, taken := shared[priority]
		return share || !taken
	}
	if shared[1] {
		return 1
	}
	best := uint16(filterPriority)
	for !free(best) && best < math.MaxUint16 {
		best++
	}
	if free(1) && len(before(filters, best)) > 0 {
		return 1
	}
	return best
}

func (c *filterChain) enter() error {
	kind, err := c.tc.qdisc(c.hook.Ifindex)
	if err != nil {
		return err
	}
	if kind == "" {
		if err := c.makeQdisc(); err != nil {
			return err
		}
	}
	if kind == "ingress" && c.hook.Name == "egress" {
		return errIngressQdisc
	}
	filters, err := c.tc.filters(c.hook.Ifindex, c.hook.Name)
	if err != nil {
		return err
	}
	c.priority = bestPriority(filters)
	if err := netlink.FilterReplace(c.filter()); errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: its filters are in a block, which devices share", errUnsupported)
	} else if err != nil {
		return fmt.Errorf("add filter of priority %d: %w", c.priority, err)
	}
	c.attached = true
	if c.hook.Name == "egress" {
		return c.leaveIngress()
	}
	return nil
}

// leaveIngress takes the egress hook's filter back where an ingress qdisc has come meanwhile, which runs it at ingress.
func (c *filterChain) leaveIngress() error {
	filters, err := c.tc.filters(c.hook.Ifindex, "ingress")
	if err != nil {
		return err
	}
	for i := range filters {
		if filters[i].ours() && filters[i].handle == egressHandle {
			return errors.Join(errIngressQdisc, c.leave())
		}
	}
	return nil
}

func (c *filterChain) filter() *netlink.BpfFilter {
	return &netlink.BpfFilter{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: c.hook.Ifindex, Parent: filterParent(c.hook.Name), Handle: handleOf(c.hook.Name), Protocol: unix.ETH_P_ALL,
			Priority: c.priority,
		},
		Fd: c.program.FD(), Name: filterPrefix + c.hook.Program, DirectAction: true,
	}
}

func (c *filterChain) leave() error {
	if !c.attached {
		return nil
	}
	c.attached = false
	return deleteFilter(c.hook.Ifindex, c.hook.Name, tcFilter{priority: c.priority, handle: handleOf(c.hook.Name)})
}

// noteQdisc writes down which devices have a clsact qdisc of ours. Of those that are gone with their devices it forgets all at once,
// when they are many.
func (l *Loader) noteQdisc(h Hook, state qdiscState) error {
	if len(l.made) > 2*len(l.seen)+forgetQdiscs {
		links, err := rtnl.Complete(netlink.LinkList)
		if err != nil {
			return fmt.Errorf("list devices: %w", err)
		}
		maps.DeleteFunc(l.made, func(ifindex int, _ ownQdisc) bool {
			return !slices.ContainsFunc(links, func(l netlink.Link) bool { return l.Attrs().Index == ifindex })
		})
	}
	if l.made[h.Ifindex] = (ownQdisc{Device: h.Device, Marked: state == qdiscMarked}); state == qdiscOfOthers {
		delete(l.made, h.Ifindex)
	}
	return l.files.setQdiscs(l.made)
}

// forgetQdiscs is how many notes of devices that are gone may pile up.
const forgetQdiscs = 64

// makeQdisc makes a clsact qdisc and marks it. Where someone else was faster, it is theirs.
func (c *filterChain) makeQdisc() error {
	if err := c.note(qdiscBegun); err != nil {
		return err
	}
	err := netlink.QdiscAdd(clsact(c.hook.Ifindex))
	if errors.Is(err, unix.EEXIST) {
		return c.note(qdiscOfOthers)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("add clsact: %w", err), c.note(qdiscOfOthers))
	}
	if err := netlink.ChainAdd(deviceOf(c.hook.Ifindex), marker()); err != nil {
		return errors.Join(fmt.Errorf("mark our clsact: %w", err), netlink.QdiscDel(clsact(c.hook.Ifindex)))
	}
	c.tc.made(c.hook.Ifindex)
	return c.note(qdiscMarked)
}

// handleOf is that of our filter in a direction.
func handleOf(direction string) uint32 {
	if direction == "egress" {
		return egressHandle
	}
	return ingressHandle
}

func filterParent(direction string) uint32 {
	if direction == "egress" {
		return netlink.HANDLE_MIN_EGRESS
	}
	return netlink.HANDLE_MIN_INGRESS
}

// deleteFilter deletes one of ours.
func deleteFilter(ifindex int, direction string, f tcFilter) error {
	err := netlink.FilterDel(&netlink.BpfFilter{FilterAttrs: netlink.FilterAttrs{
		LinkIndex: ifindex, Parent: filterParent(direction), Handle: f.handle, Protocol: unix.ETH_P_ALL, Priority: f.priority,
	}, Fd: -1})
	// Deleted together with its device, or by the one who replaced the qdisc: nothing of ours is left.
	if err != nil && !gone(err) {
		return fmt.Errorf("delete filter: %w", err)
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL)
}

func deviceOf(ifindex int) netlink.Link {
	return &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Index: ifindex}}
}

func clsact(ifindex int) *netlink.Clsact {
	return &netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: ifindex, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
	}}
}

func marker() netlink.Chain {
	return netlink.Chain{Parent: netlink.HANDLE_MIN_INGRESS, Chain: markerChain}
}

// directions are those in which a qdisc of that kind holds filters. An ingress qdisc shows its own for both.
func directions(kind string) []string {
	return map[string][]string{"clsact": {"ingress", "egress"}, "ingress": {"ingress"}}[kind]
}
