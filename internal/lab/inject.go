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
	handleProbe = 0xffef << 16    // of hasNetem alone
)

// Fault adds a fault to a device that has none.
func (l *Lab) Fault(f Fault) (ActiveFault, error) {
	if err := f.validate(); err != nil {
		return ActiveFault{}, err
	}
	var done ActiveFault
	err := l.change(func(st *state) error {
		device, err := st.locate(&f)
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
			} else if has && !st.HostRouting {
				f.Tool = Netem
			}
		}
		if st.HostRouting && f.Tool == Netem {
			return fmt.Errorf("what BPF routes passes no rule that would lead it to the class of %s: use %s", Netem, TBF)
		}
		done, err = l.inject(st, f, device)
		return err
	})
	if err != nil {
		return ActiveFault{}, fmt.Errorf("fault: %w", err)
	}
	return done, nil
}

// Heal removes all faults.
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

// Faults returns the active ones, the oldest first.
func (l *Lab) Faults() ([]ActiveFault, error) {
	st, err := readState(l.dir)
	if err != nil {
		return nil, err
	}
	return st.Faults, nil
}

// change calls f with the state from disk, with the lab locked against other processes.
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

// inject plans a fault and applies it. The state is written first, so that Heal finds a fault that was applied by half.
func (l *Lab) inject(st *state, f Fault, device string) (ActiveFault, error) {
	node := st.node(f.Node)
	h, err := node.Netns.handle()
	if err != nil {
		return ActiveFault{}, err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return ActiveFault{}, fmt.Errorf("%s: find %s: %w", node.Name, device, err)
	}
	done := ActiveFault{Node: node.Name, Netns: node.Netns, Device: device, Tool: f.Tool, Since: time.Now()}
	offered := st.offeredAt(node.Name, device)
	var apply func() error
	if f.Tool == TBF {
		q, expected, err := planTBF(f, offered, link.Attrs().MTU+ethernet)
		if err != nil {
			return ActiveFault{}, err
		}
		done.Rate, done.Limit, done.Loss, done.Expected = q.rate*8, q.limit, expected.Loss, expected
		done.Delay = float64(q.limit) / float64(q.rate)
		done.Commands = q.commands(node.Netns, device)
		apply = func() error { return q.add(h, link) }
	} else {
		q, expected := planNetem(f, offered)
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
		return ActiveFault{}, err
	}
	if err := apply(); err != nil {
		undone := st.heal(done)
		if undone == nil {
			st.Faults = before
			undone = st.write(l.dir)
		}
		return ActiveFault{}, errors.Join(err, undone)
	}
	return done, nil
}

func qdiscAttrs(link netlink.Link, parent, handle uint32) netlink.QdiscAttrs {
	return netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Parent: parent, Handle: handle}
}

// heal gives a device its default qdisc again, and removes the classification of its packets.
func (t *topology) heal(f ActiveFault) error {
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
