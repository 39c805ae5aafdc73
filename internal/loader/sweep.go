package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// Sweep deletes what a tracer that was killed left behind in the current network namespace: its filters, its clsact
// qdiscs if nobody else uses them by now, and its socket. It must run under the namespace's lock. It reports what it
// deleted.
func Sweep(files Files) (removed []string, err error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	made, err := files.qdiscs()
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, l := range links {
		name := l.Attrs().Name
		kind, err := blockQdisc(l.Attrs().Index)
		if err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", name, err))
			continue
		}
		foreign := false
		for _, direction := range directions(kind) {
			filters, err := netlink.FilterList(l, filterParent(direction))
			if err != nil {
				errs = append(errs, fmt.Errorf("list filters of %s: %w", name, err))
				continue
			}
			for _, f := range filters {
				b, ok := f.(*netlink.BpfFilter)
				if !ok || b.Handle != filterHandle || !strings.HasPrefix(b.Name, filterPrefix) {
					foreign = true
					continue
				}
				if err := (filter{b}).Close(); err != nil {
					errs = append(errs, err)
					continue
				}
				removed = append(removed, fmt.Sprintf("filter %s on %s %s", b.Name, name, direction))
			}
		}
		if made[l.Attrs().Index] == "" || foreign || kind != "clsact" {
			continue
		}
		err = netlink.QdiscDel(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{
			LinkIndex: l.Attrs().Index, Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT,
		}})
		if err != nil && !gone(err) {
			errs = append(errs, fmt.Errorf("delete clsact of %s: %w", name, err))
			continue
		}
		removed = append(removed, "qdisc clsact on "+name)
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
