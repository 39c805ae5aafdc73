package forwarding

import (
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
	"tracer/internal/rtnl"
)

// Packet is what the tables are asked about.
type Packet struct {
	Source, Destination netip.Addr
	Device              string // where it came in; "" for one of this namespace's own
}

func (p *Packet) family() int {
	if p.Destination.Is4() {
		return netlink.FAMILY_V4
	}
	return netlink.FAMILY_V6
}

// noRoute is what is said where no rule and no route matches.
const noRoute = "there is no route"

// Route fills in of a look-up which rule and route are for the packet. It is worked out here from both tables, and not asked
// by RTM_GETROUTE: that answers for a refused packet with an error alone, the same for several kinds.
func (t *Tables) Route(l *record.RouteLookup, p Packet) error {
	rules, err := t.rules(p.family())
	if err != nil {
		return err
	}
	var routes map[int][]netlink.Route // by table: those that contain the destination
	skipTo := uint32(0)
	for i := range rules {
		r := &rules[i]
		if r.priority < skipTo || !r.matches(p) {
			continue
		}
		switch r.action {
		case unix.FR_ACT_GOTO:
			skipTo = r.target
		case unix.FR_ACT_BLACKHOLE, unix.FR_ACT_UNREACHABLE, unix.FR_ACT_PROHIBIT:
			l.Result, l.Rule = refusals()[r.action-unix.FR_ACT_BLACKHOLE], r.String()
			return nil
		case unix.FR_ACT_TO_TBL:
			if routes == nil {
				if routes, err = t.routesTo(p); err != nil {
					return err
				}
			}
			route := best(routes[int(r.table)])
			if route == nil || route.Type == unix.RTN_THROW || bits(route) <= r.suppress {
				continue
			}
			if !r.usual() {
				l.Rule = r.String()
			}
			t.fillRoute(l, route)
			return nil
		}
	}
	l.Result = noRoute
	return nil
}

// fillRoute says what a route does with packets.
func (t *Tables) fillRoute(l *record.RouteLookup, route *netlink.Route) {
	l.Block = route.Dst == nil || bits(route) < len(route.Dst.IP)*8
	words := []string{"default"}
	if bits(route) > 0 {
		words[0] = route.Dst.String()
		if !l.Block {
			words[0] = route.Dst.IP.String()
		}
	}
	if route.Type >= unix.RTN_BLACKHOLE && route.Type <= unix.RTN_PROHIBIT {
		l.Result = refusals()[route.Type-unix.RTN_BLACKHOLE]
		words = append([]string{l.Result}, words...)
	} else if route.Type == unix.RTN_UNICAST {
		gateway, index := nextHop(route)
		if l.NextHop, _ = netip.AddrFromSlice(gateway); !l.NextHop.IsValid() {
			l.NextHop = l.Destination
		} else {
			words = append(words, "via", gateway.String())
		}
		l.NextHop = l.NextHop.Unmap()
		if link, err := t.handle.LinkByIndex(index); err == nil {
			l.Out = link.Attrs().Name
			words = append(words, "dev", l.Out)
		}
	}
	if route.Table != unix.RT_TABLE_MAIN {
		words = append(words, "table", tableName(uint32(route.Table)))
	}
	if route.Protocol > unix.RTPROT_STATIC { // a daemon's
		words = append(words, "proto", route.Protocol.String())
	}
	l.Route = strings.Join(words, " ")
}

// nextHop is the first of a route.
func nextHop(route *netlink.Route) (gateway net.IP, index int) {
	gateway, index = route.Gw, route.LinkIndex
	via := route.Via
	if len(route.MultiPath) > 0 {
		first := route.MultiPath[0]
		gateway, index, via = first.Gw, first.LinkIndex, first.Via
	}
	if v, ok := via.(*netlink.Via); ok {
		gateway = v.Addr
	}
	return gateway, index
}

// routesTo lists the routes that contain a packet's destination, by table.
func (t *Tables) routesTo(p Packet) (map[int][]netlink.Route, error) {
	to := p.Destination.AsSlice()
	routes, err := rtnl.Complete(func() (contain []netlink.Route, err error) {
		err = t.handle.RouteListFilteredIter(p.family(), &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if (r.Dst == nil || r.Dst.Contains(to)) && r.Flags&(unix.RTNH_F_DEAD|unix.RTM_F_CLONED) == 0 {
				contain = append(contain, r)
			}
			return true
		})
		return contain, err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	found := map[int][]netlink.Route{}
	for _, r := range routes {
		found[r.Table] = append(found[r.Table], r)
	}
	return found, nil
}

// best is the route of the longest prefix, and of those the one of the lowest metric; nil if there is none.
func best(routes []netlink.Route) (found *netlink.Route) {
	for i := range routes {
		if r := &routes[i]; found == nil || bits(r) > bits(found) || bits(r) == bits(found) && r.Priority < found.Priority {
			found = r
		}
	}
	return found
}

// bits is the length of a route's prefix.
func bits(r *netlink.Route) int {
	if r.Dst == nil {
		return 0
	}
	n, _ := r.Dst.Mask.Size()
	return n
}
