// Package underlay finds out how the packets of tunnels reach their other ends: through which uplink, and how large they may
// be there.
package underlay

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
	"tracer/internal/rtnl"
)

const (
	// renewAfter is after how long routes and other ends are read again where no device has changed.
	renewAfter = time.Minute
	// maxPeers bounds the other ends of a tunnel to which the way is asked for.
	maxPeers = 256
)

// Reader reads the tunnels of one network namespace. Its methods may be called from any goroutine.
type Reader struct {
	table *netlink.Handle

	mu      sync.Mutex
	tunnels []netdev.Tunnel
	unread  error // of those that could not be read
	of      []key // the devices that they were read of
	read    time.Time
}

// key is what of a device decides how large packets may be.
type key struct {
	index, mtu int
	up         bool
}

// Open returns a Reader for the calling thread's network namespace. The caller closes it.
func Open() (*Reader, error) {
	table, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	return &Reader{table: table}, nil
}

// Close closes the socket.
func (r *Reader) Close() { r.table.Close() }

// Read returns the tunnels among the devices. They are read anew where a device that leads out has changed, and once a minute:
// that takes some lists of the kernel's. An error is returned until it is tried again. peers are the other ends of WireGuard devices.
func (r *Reader) Read(devices []netdev.Device, peers []netdev.Peer) ([]netdev.Tunnel, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var of []key
	overlays := false
	for i := range devices {
		if d := &devices[i]; d.Role.LeadsOut() {
			of = append(of, key{d.Index, d.MTU, d.Up})
			overlays = overlays || d.Role == netdev.RoleOverlay && d.Up
		}
	}
	if !overlays {
		return nil, nil
	}
	if now := time.Now(); now.Sub(r.read) >= renewAfter || !slices.Equal(of, r.of) {
		var tunnels []netdev.Tunnel
		var errs []error
		for i := range devices {
			if d := &devices[i]; d.Role == netdev.RoleOverlay && d.Up {
				t, err := r.tunnel(d, devices, peers)
				if err != nil {
					errs = append(errs, fmt.Errorf("find the way of %s's packets: %w", d.Name, err))
					continue
				}
				tunnels = append(tunnels, t)
			}
		}
		r.tunnels, r.unread, r.of, r.read = tunnels, errors.Join(errs...), of, now
	}
	return r.tunnels, r.unread
}

// tunnel is one of them.
func (r *Reader) tunnel(d *netdev.Device, devices []netdev.Device, peers []netdev.Peer) (netdev.Tunnel, error) {
	t := netdev.Tunnel{Device: d.Name}
	routes, err := r.routes(d)
	if err != nil {
		return t, err
	}
	for i := range routes {
		largest := d.MTU
		if m := routes[i].MTU; m > 0 {
			largest = min(largest, m)
		}
		t.Largest = max(t.Largest, largest)
	}
	ends, err := r.ends(d, routes, peers)
	if err != nil {
		return t, err
	}
	for _, peer := range ends {
		uplink, mtu := r.way(peer, devices)
		header := netdev.TunnelHeader(d.Kind, peer)
		if uplink == "" || uplink == d.Name || t.MTU != 0 && mtu-header >= t.MTU-t.Header {
			continue
		}
		t.Peer, t.Uplink, t.MTU, t.Header = peer, uplink, mtu, header
	}
	return t, nil
}

// routes are those into a device that packets of others take.
func (r *Reader) routes(d *netdev.Device) ([]netlink.Route, error) {
	routes, err := rtnl.Complete(func() ([]netlink.Route, error) {
		return r.table.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: d.Index, Type: unix.RTN_UNICAST},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TYPE)
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return slices.DeleteFunc(routes, func(route netlink.Route) bool {
		return route.Dst != nil && (route.Dst.IP.IsLinkLocalUnicast() || route.Dst.IP.IsMulticast())
	}), nil
}

// ends are the addresses of a tunnel's other ends, as it is told them: one end for the device, or one for each link address
// (vxlan), each WireGuard peer, or each next hop of a route (ipip, sit, gre).
func (r *Reader) ends(d *netdev.Device, routes []netlink.Route, peers []netdev.Peer) (ends []netip.Addr, err error) {
	add := func(ip net.IP) {
		a, ok := netip.AddrFromSlice(ip)
		if a = a.Unmap(); ok && !a.IsUnspecified() && !a.IsMulticast() && len(ends) < maxPeers && !slices.Contains(ends, a) {
			ends = append(ends, a)
		}
	}
	link, err := r.table.LinkByIndex(d.Index)
	if err != nil {
		return nil, fmt.Errorf("read the device: %w", err)
	}
	byRoute := false
	switch l := link.(type) {
	case *netlink.Vxlan:
		add(l.Group)
		entries, err := rtnl.Complete(func() ([]netlink.Neigh, error) { return r.table.NeighList(d.Index, unix.AF_BRIDGE) })
		if err != nil {
			return nil, fmt.Errorf("list forwarding entries: %w", err)
		}
		for i := range entries {
			add(entries[i].IP)
		}
	case *netlink.Geneve:
		add(l.Remote)
	case *netlink.Wireguard:
		for i := range peers {
			if p := &peers[i]; p.Device == d.Name && p.Endpoint.IsValid() {
				add(p.Endpoint.Addr().AsSlice())
			}
		}
	case *netlink.Iptun:
		add(l.Remote)
		byRoute = true
	case *netlink.Sittun:
		add(l.Remote)
		byRoute = true
	case *netlink.Ip6tnl:
		add(l.Remote)
		byRoute = true
	case *netlink.Gretun:
		add(l.Remote)
		byRoute = true
	case *netlink.Gretap:
		add(l.Remote)
	}
	if byRoute && len(ends) == 0 {
		for i := range routes {
			add(routes[i].Gw)
		}
	}
	return ends, nil
}

// way is the device through which the kernel sends to an address, and the largest packet that it sends there: the device's MTU,
// or what the route or the network (by path MTU discovery) has told.
func (r *Reader) way(to netip.Addr, devices []netdev.Device) (uplink string, mtu int) {
	routes, err := r.table.RouteGet(to.AsSlice())
	if err != nil || len(routes) == 0 {
		return "", 0 // no route: another cause's
	}
	for i := range devices {
		if d := &devices[i]; d.Index == routes[0].LinkIndex && d.Role != netdev.RoleOther {
			mtu = d.MTU
			if m := routes[0].MTU; m > 0 {
				mtu = min(mtu, m)
			}
			return d.Name, mtu
		}
	}
	return "", 0
}
