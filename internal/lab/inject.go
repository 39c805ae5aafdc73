package lab

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Handles as tc(8) writes them, in hexadecimal.
const (
	handleRoot  = 0x10 << 16      // 10:
	handleFast  = 0x10<<16 | 0x1  // 10:1
	handleSlow  = 0x10<<16 | 0x10 // 10:10
	handleNetem = 0x100 << 16     // 100:
	handleProbe = 0xffef << 16    // of the probe alone
)

// Fault puts a fault onto a device that has none yet.
func (l *Lab) Fault(f Fault) (Injected, error) {
	if err := f.validate(); err != nil {
		return Injected{}, err
	}
	var done Injected
	err := l.change(func(st *state) error {
		device, err := st.place(&f)
		if err != nil {
			return err
		}
		for _, old := range st.Faults {
			if old.Node == f.Node && old.Device == device {
				return fmt.Errorf("%s of %s has a fault already: remove it with `%s`", device, f.Node, command("heal", st.Name))
			}
		}
		if f.Tool == "" {
			f.Tool = TBF
			if has, err := st.hasNetem(); err != nil {
				return err
			} else if has {
				f.Tool = Netem
			}
		}
		done, err = l.inject(st, f, device)
		return err
	})
	if err != nil {
		return Injected{}, fmt.Errorf("fault: %w", err)
	}
	return done, nil
}

// Heal takes all faults away. Without any it does nothing.
func (l *Lab) Heal() error {
	return l.change(func(st *state) error {
		for len(st.Faults) > 0 {
			if err := st.heal(st.Faults[0]); err != nil {
				return fmt.Errorf("heal: %w", err)
			}
			st.Faults = st.Faults[1:]
			if err := st.write(l.dir); err != nil {
				return err
			}
		}
		return nil
	})
}

// Faults are those in force, in the order in which they came.
func (l *Lab) Faults() ([]Injected, error) {
	st, err := readState(l.dir)
	if err != nil {
		return nil, err
	}
	return st.Faults, nil
}

// change lets f change the state as it is on disk, with other processes kept out.
func (l *Lab) change(f func(*state) error) error {
	unlock, err := lockDir(l.dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := readState(l.dir)
	if err != nil {
		return err
	}
	return f(st)
}

// inject reckons the fault and puts it in force. It is written down first, so that Heal finds also half of it.
func (l *Lab) inject(st *state, f Fault, device string) (Injected, error) {
	node := st.node(f.Node)
	h, err := node.Netns.handle()
	if err != nil {
		return Injected{}, err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return Injected{}, fmt.Errorf("%s: find %s: %w", node.Name, device, err)
	}
	done := Injected{Node: node.Name, Netns: node.Netns, Device: device, Tool: f.Tool, Since: time.Now()}
	passing := st.passingBy(node.Name, device)
	var apply func() error
	if f.Tool == TBF {
		q, expected, err := planTBF(f, passing, link.Attrs().MTU+ethernet)
		if err != nil {
			return Injected{}, err
		}
		done.Rate, done.Limit, done.Loss, done.Expected = q.rate*8, q.limit, expected.Loss, expected
		done.Delay = float64(q.limit) / float64(q.rate)
		done.Commands = q.commands(node.Netns, device)
		apply = func() error { return q.add(h, link) }
	} else {
		q, expected := planNetem(f, passing)
		done.Delay, done.Rate, done.Loss, done.Limit = q.delay.Seconds(), q.rate, q.loss, q.limit
		done.Expected = expected
		done.Commands = q.commands(node.Netns, device)
		done.Classify = classifier()
		done.Commands = append(done.Commands, classifyCommands(node.Netns, done.Classify)...)
		apply = func() error {
			return errors.Join(q.add(h, link), st.classify(node, done.Classify))
		}
	}
	done.Undo = append([]string{fmt.Sprintf("ip netns exec %s tc qdisc del dev %s root", node.Netns, device)},
		unclassifyCommands(node.Netns, done.Classify)...)
	before := st.Faults
	st.Faults = append(st.Faults, done)
	if err := st.write(l.dir); err != nil {
		return Injected{}, err
	}
	if err := apply(); err != nil {
		undone := st.heal(done)
		if undone == nil {
			st.Faults = before
			undone = st.write(l.dir)
		}
		return Injected{}, errors.Join(err, undone)
	}
	return done, nil
}

// hasNetem asks the kernel, on the wire's loopback device, which carries nothing.
func (t *topology) hasNetem() (bool, error) {
	h, err := t.Wire.handle()
	if err != nil {
		return false, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return false, fmt.Errorf("%s: find lo: %w", t.Wire, err)
	}
	loadModule("sch_netem")
	q := netlink.NewNetem(qdiscAttrs(lo, netlink.HANDLE_ROOT, handleProbe), netlink.NetemQdiscAttrs{})
	if err := h.QdiscAdd(q); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("ask the kernel for netem: %w", err)
	}
	return true, h.QdiscDel(q)
}

func qdiscAttrs(link netlink.Link, parent, handle uint32) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: parent, Handle: handle}
}

func (q tbf) add(h *netlink.Handle, link netlink.Link) error {
	err := h.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: qdiscAttrs(link, netlink.HANDLE_ROOT, handleRoot),
		Rate:       q.rate,
		Limit:      uint32(q.limit),
		Buffer:     netlink.Xmittime(q.rate, uint32(q.burst)),
	})
	if err != nil {
		return fmt.Errorf("add tbf to %s: %w", link.Attrs().Name, err)
	}
	return nil
}

func (q netem) add(h *netlink.Handle, link netlink.Link) error {
	root := netlink.NewHtb(qdiscAttrs(link, netlink.HANDLE_ROOT, handleRoot))
	root.Defcls = 1
	if err := h.QdiscAdd(root); err != nil {
		return fmt.Errorf("add htb to %s: %w", link.Attrs().Name, err)
	}
	for class, rate := range map[uint32]uint64{handleFast: topRate, handleSlow: q.classRate()} {
		attrs := netlink.ClassAttrs{LinkIndex: link.Attrs().Index, Parent: handleRoot, Handle: class}
		if err := h.ClassAdd(netlink.NewHtbClass(attrs, netlink.HtbClassAttrs{Rate: rate})); err != nil {
			return fmt.Errorf("add htb class %s to %s: %w", netlink.HandleStr(class), link.Attrs().Name, err)
		}
	}
	leaf := netlink.NewNetem(qdiscAttrs(link, handleSlow, handleNetem), netlink.NetemQdiscAttrs{
		Latency: uint32(q.delay.Microseconds()),
		Loss:    float32(q.loss * 100),
		Limit:   uint32(q.limit),
		Rate64:  q.rate / 8,
	})
	if err := h.QdiscAdd(leaf); err != nil {
		return fmt.Errorf("add netem to %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// heal gives a device back its default qdisc, and removes the marks that the fault needed.
func (t *topology) heal(f Injected) error {
	node := t.node(f.Node)
	h, err := node.Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := h.LinkByName(f.Device)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", f.Node, f.Device, err)
	}
	root := &netlink.GenericQdisc{QdiscAttrs: qdiscAttrs(link, netlink.HANDLE_ROOT, handleRoot)}
	// ENOENT and EINVAL: somebody removed it by hand, or put another in its place.
	if err := h.QdiscDel(root); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("%s: remove the qdisc of %s: %w", f.Node, f.Device, err)
	}
	return t.unclassify(node, f.Classify)
}
