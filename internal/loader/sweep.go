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
	links, err := rtnl.Complete(netlink.LinkList)
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	made, err := files.qdiscs()
	if err != nil {
		return nil, err
	}
	var tc tcReader
	defer tc.Close()
	var errs []error
	for _, l := range links {
		kind, err := tc.qdisc(l.Attrs().Index)
		if err != nil {
			return nil, err
		}
		if kind == "" {
			continue
		}
		var note *ownQdisc
		if own, noted := made[l.Attrs().Index]; noted {
			note = &own
		}
		deleted, err := sweepDevice(&tc, l, kind, note)
		removed = append(removed, deleted...)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", l.Attrs().Name, err))
		}
	}
	if len(errs) == 0 {
		errs = append(errs, files.setQdiscs(nil))
	}
	if _, err := os.Lstat(files.Socket()); err == nil {
		removed = append(removed, files.Socket())
	}
	errs = append(errs, files.removeSocket())
	return removed, errors.Join(errs...)
}

// sweepDevice deletes our filters. Of a clsact qdisc that a tracer noted (nil: none did), and that has its mark, it deletes the
// mark, or the qdisc if nobody else uses it. One that a tracer was making when it was killed has no mark yet.
func sweepDevice(tc *tcReader, l netlink.Link, kind string, note *ownQdisc) (removed []string, err error) {
	name, ifindex := l.Attrs().Name, l.Attrs().Index
	foreign, marked := false, false
	for _, direction := range directions(kind) {
		filters, err := tc.filters(ifindex, direction)
		if err != nil {
			return removed, err
		}
		for _, f := range filters {
			if !f.ours() {
				foreign = foreign || f.rule || f.kind != "bpf"
				continue
			}
			if err := deleteFilter(ifindex, direction, f); err != nil {
				return removed, err
			}
			removed = append(removed, fmt.Sprintf("filter %s on %s %s", f.name, name, direction))
		}
		chains, err := rtnl.Complete(func() ([]netlink.Chain, error) { return netlink.ChainList(l, filterParent(direction)) })
		if err != nil {
			return removed, fmt.Errorf("list %s chains: %w", direction, err)
		}
		for _, c := range chains {
			marked = marked || c.Chain == markerChain
			foreign = foreign || c.Chain != markerChain && c.Chain != 0
		}
	}
	if note == nil || note.Marked && !marked || kind != "clsact" {
		return removed, nil
	}
	if foreign && !marked {
		return removed, nil
	}
	if foreign {
		if err := netlink.ChainDel(l, marker()); err != nil && !gone(err) {
			return removed, fmt.Errorf("delete the mark of our clsact: %w", err)
		}
		return removed, nil
	}
	if err := netlink.QdiscDel(clsact(ifindex)); err != nil && !gone(err) {
		return removed, fmt.Errorf("delete clsact: %w", err)
	}
	return append(removed, "qdisc clsact on "+name), nil
}
