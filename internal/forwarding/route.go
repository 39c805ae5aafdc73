package forwarding

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
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

// Routes are the rules of policy routing, and the routes that contain one of some destinations, as they were at one time.
type Routes struct{ of map[int]familyRoutes } // by address family

// familyRoutes are those of one family, or why they could not be read.
type familyRoutes struct {
	rules  []rule
	routes []netlink.Route
	err    error
}

// Routes reads those of some destinations. Rules and routes are all listed for it, once for each address family, which takes the
// longer the more there are: who has several questions asks for all destinations at once. What cannot be read is told by Route.
func (t *Tables) Routes(destinations ...netip.Addr) *Routes {
	byFamily := map[int][]netip.Addr{}
	for _, to := range destinations {
		p := Packet{Destination: to}
		byFamily[p.family()] = append(byFamily[p.family()], to)
	}
	found := &Routes{map[int]familyRoutes{}}
	for family, to := range byFamily {
		var f familyRoutes
		if f.rules, f.err = t.rules(family); f.err == nil {
			f.routes, f.err = t.routesTo(family, to)
		}
		found.of[family] = f
	}
	return found
}

// Route fills in of a look-up which rule and route are for the packet, whose destination is one of those that the routes were
// read for. It is worked out here from both tables, and not asked by RTM_GETROUTE: that answers for a refused packet with an error
// alone, the same for several kinds.
func (t *Tables) Route(l *record.RouteLookup, routes *Routes, p Packet) error {
	of := routes.of[p.family()]
	if of.err != nil {
		return of.err
	}
	skipTo := uint32(0)
	for i := range of.rules {
		r := &of.rules[i]
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
			route := of.best(int(r.table), p.Destination.AsSlice())
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
		if gateway := t.setNextHop(l, route); gateway != nil {
			words = append(words, "via", gateway.String())
		}
		if l.Out != "" {
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

// setNextHop fills in where a route leads, and returns the gateway; nil without one.
func (t *Tables) setNextHop(l *record.RouteLookup, route *netlink.Route) net.IP {
	gateway, index := nextHop(route)
	next, ok := netip.AddrFromSlice(gateway)
	if l.NextHop = next.Unmap(); !ok {
		l.NextHop = l.Destination
	}
	if link, err := t.handle.LinkByIndex(index); err == nil {
		l.Out = link.Attrs().Name
	}
	return gateway
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

// routesTo lists the routes that contain one of some destinations of a family.
func (t *Tables) routesTo(family int, destinations []netip.Addr) ([]netlink.Route, error) {
	to := make([]net.IP, len(destinations))
	for i := range destinations {
		to[i] = destinations[i].AsSlice()
	}
	routes, err := rtnl.Complete(func() (contain []netlink.Route, err error) {
		err = t.handle.RouteListFilteredIter(family, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE, func(r netlink.Route) bool {
			if (r.Dst == nil || slices.ContainsFunc(to, r.Dst.Contains)) && r.Flags&(unix.RTNH_F_DEAD|unix.RTM_F_CLONED) == 0 {
				contain = append(contain, r)
			}
			return true
		})
		return contain, err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return routes, nil
}

// best is a table's route to an address: that of the longest prefix, and of those the one of the lowest metric; nil if there is none.
func (f *familyRoutes) best(table int, to net.IP) (found *netlink.Route) {
	for i := range f.routes {
		r := &f.routes[i]
		if r.Table != table || r.Dst != nil && !r.Dst.Contains(to) {
			continue
		}
		if found == nil || bits(r) > bits(found) || bits(r) == bits(found) && r.Priority < found.Priority {
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
