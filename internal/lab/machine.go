package lab

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/lab/load"
)

// here tells whether a node, by its name, is made here.
func (t *topology) here(node string) bool { return t.Machine == "" || t.Machine == node }

// nodesHere are those that are made here: all of them, unless this machine is one of them.
func (t *topology) nodesHere() []Node {
	var nodes []Node
	for _, n := range t.Nodes {
		if t.here(n.Name) {
			nodes = append(nodes, n)
		}
	}
	return nodes
}

// podsHere are those of the nodes that are made here.
func (t *topology) podsHere() []Pod {
	var pods []Pod
	for _, p := range t.Pods {
		if t.here(p.Node) {
			pods = append(pods, p)
		}
	}
	return pods
}

// adopt gives the network namespace of the calling thread a name, by which it is the machine's node.
func (n Namespace) adopt() error {
	if err := shareNamespaceDir(); err != nil {
		return fmt.Errorf("name network namespace %s: prepare %s: %w", n, namespaceDir, err)
	}
	file, err := os.OpenFile(n.Path(), os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return fmt.Errorf("name network namespace %s: %w", n, err)
	}
	file.Close()
	if err := unix.Mount("/proc/thread-self/ns/net", n.Path(), "none", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("name network namespace %s: %w", n, err), os.Remove(n.Path()))
	}
	return nil
}

// leave takes from the machine's own namespace what the lab put there. Other namespaces end with all that is in them.
func (s *state) leave() error {
	node := s.node(s.Machine)
	if node == nil || !node.Netns.exists() {
		return nil
	}
	var errs []error
	for _, f := range s.Faults {
		errs = append(errs, s.heal(f))
	}
	err := node.withNftables(func(conn *nftables.Conn) {
		conn.DelTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	})
	if !errors.Is(err, unix.ENOENT) {
		errs = append(errs, err)
	}
	h, err := node.Netns.handle()
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer h.Close()
	for _, p := range s.podsHere() { // the kernel would, some time after their other ends' namespaces
		if link, err := h.LinkByName(p.Device); err == nil {
			errs = append(errs, h.LinkDel(link))
		}
	}
	errs = append(errs, clear(h, s.Uplink))
	if s.Overlay == IPIP {
		errs = append(errs, clear(h, s.overlayDevice()))
	} else if link, err := h.LinkByName(s.overlayDevice()); err == nil {
		errs = append(errs, h.LinkDel(link))
	}
	return errors.Join(errs...)
}

// clear sets a device down and takes its addresses away, and with them its routes.
func clear(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if _, missing := errors.AsType[netlink.LinkNotFoundError](err); missing {
		return nil
	} else if err != nil {
		return fmt.Errorf("find %s: %w", name, err)
	}
	if err := h.LinkSetDown(link); err != nil {
		return fmt.Errorf("set %s down: %w", name, err)
	}
	addrs, err := h.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("list the addresses of %s: %w", name, err)
	}
	for _, a := range addrs {
		if err := h.AddrDel(link, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("take %s from %s: %w", a.IPNet, name, err)
		}
	}
	return nil
}

// readLog reads a log of the lab. What another machine wrote into a packet is a time by its clock: of such a log, packets were sent when
// they were received, or a round trip before, and how long they took one way is not known.
func (l *Lab) readLog(name string, from time.Duration) ([]load.Entry, error) {
	path := filepath.Join(l.dir, name)
	if l.st.Machine == "" || name != load.Requests && name != load.Responses {
		return load.ReadLog(path, from)
	}
	entries, err := load.ReadLog(path, 0)
	if err != nil {
		return nil, err
	}
	return ownTimes(entries, from), nil
}

func ownTimes(entries []load.Entry, from time.Duration) []load.Entry {
	kept := entries[:0]
	for _, e := range entries {
		e.Sent, e.Arrived, e.Delay = e.Received-e.RoundTrip, 0, 0
		if e.Sent >= from {
			kept = append(kept, e)
		}
	}
	return kept
}
