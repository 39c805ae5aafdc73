package loader

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"

	"tracer/internal/rtnl"
)

// Sweep deletes what a tracer that was killed left behind in the current network namespace: its filters, its clsact
// qdiscs if nobody else uses them by now, and its socket. It must run under the namespace's lock. It reports what it
// deleted.
func Sweep(files Files) (removed []string, err error) {
	removed, _, err = sweep(files, false)
	return removed, err
}

// takeOver sweeps as Sweep does, but for the clsact qdiscs that are whole: the tracer that starts would make them again, and the
// kernel stops a device's queues to make or delete one (qdisc_graft), which loses what is sent meanwhile. It returns their notes.
func takeOver(files Files) (map[int]ownQdisc, error) {
	_, kept, err := sweep(files, true)
	return kept, err
}

func sweep(files Files, keep bool) (removed []string, kept map[int]ownQdisc, err error) {
	kept = map[int]ownQdisc{}
	links, err := rtnl.Complete(netlink.LinkList)
	if err != nil {
		return nil, nil, fmt.Errorf("list devices: %w", err)
	}
	made, err := files.qdiscs()
	if err != nil {
		return nil, nil, err
	}
	var tc tcReader
	defer tc.Close()
	var errs []error
	for _, l := range links {
		kind, err := tc.qdisc(l.Attrs().Index)
		if err != nil {
			return nil, nil, err
		}
		if kind == "" {
			continue
		}
		var note *ownQdisc
		if own, noted := made[l.Attrs().Index]; noted {
			note = &own
		}
		deleted, whole, err := sweepDevice(&tc, l, kind, note, keep)
		removed = append(removed, deleted...)
		if whole {
			kept[l.Attrs().Index] = *note
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", l.Attrs().Name, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, files.setQdiscs(kept))
	}
	if _, err := os.Lstat(files.Socket()); err == nil {
		removed = append(removed, files.Socket())
	}
	errs = append(errs, files.removeSocket())
	return removed, kept, errors.Join(errs...)
}

// sweepDevice deletes our filters. Of a clsact qdisc that a tracer noted (nil: none did), and that has its mark, it deletes the
// mark, or the qdisc if nobody else uses it; such a one stays as it is with keep, and kept tells so. One that a tracer was making
// when it was killed has no mark yet.
func sweepDevice(tc *tcReader, l netlink.Link, kind string, note *ownQdisc, keep bool) (removed []string, kept bool, err error) {
	name, ifindex := l.Attrs().Name, l.Attrs().Index
	foreign, marked := false, false
	for _, direction := range directions(kind) {
		filters, err := tc.filters(ifindex, direction)
		if err != nil {
			return removed, false, err
		}
		for _, f := range filters {
			if !f.ours() {
				foreign = foreign || f.rule || f.kind != "bpf"
				continue
			}
			if err := deleteFilter(ifindex, direction, f); err != nil {
				return removed, false, err
			}
			removed = append(removed, fmt.Sprintf("filter %s on %s %s", f.name, name, direction))
		}
		chains, err := rtnl.Complete(func() ([]netlink.Chain, error) { return netlink.ChainList(l, filterParent(direction)) })
		if err != nil {
			return removed, false, fmt.Errorf("list %s chains: %w", direction, err)
		}
		for _, c := range chains {
			marked = marked || c.Chain == markerChain
			foreign = foreign || c.Chain != markerChain && c.Chain != 0
		}
	}
	if note == nil || note.Marked && !marked || kind != "clsact" {
		return removed, false, nil
	}
	if foreign && !marked {
		return removed, false, nil
	}
	if foreign {
		if err := netlink.ChainDel(l, marker()); err != nil && !gone(err) {
			return removed, false, fmt.Errorf("delete the mark of our clsact: %w", err)
		}
		return removed, false, nil
	}
	if keep && marked {
		note.Marked = true
		return removed, true, nil
	}
	if err := netlink.QdiscDel(clsact(ifindex)); err != nil && !gone(err) {
		return removed, false, fmt.Errorf("delete clsact: %w", err)
	}
	return append(removed, "qdisc clsact on "+name), false, nil
}
