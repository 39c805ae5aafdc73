package device

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"tracer/internal/netdev"

	"golang.org/x/sys/unix"
)

// maxEvents is how many changes of each kind are kept: routes come and go with pods and must not evict what is rare.
const maxEvents = 64

// events are the last changes of a namespace.
type events struct {
	mu    sync.Mutex
	kinds map[netdev.EventKind][]netdev.Event
	links map[int]knownLink // by index, as announced last
}

type knownLink struct {
	name string
	role netdev.Role
	up   bool // and connected
}

// add appends an event and evicts the oldest of its kind beyond maxEvents.
func (e *events) add(event netdev.Event) {
	if e.kinds == nil {
		e.kinds = make(map[netdev.EventKind][]netdev.Event)
	}
	list := append(e.kinds[event.Kind], event)
	if len(list) > maxEvents {
		list = slices.Delete(list, 0, len(list)-maxEvents)
	}
	e.kinds[event.Kind] = list
}

// list returns all events, the oldest first.
func (e *events) list() []netdev.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []netdev.Event
	for _, list := range e.kinds {
		all = append(all, list...)
	}
	slices.SortStableFunc(all, func(x, y netdev.Event) int {
		return cmp.Or(x.Time.Compare(y.Time), cmp.Compare(x.Kind, y.Kind))
	})
	return all
}

// compare takes the links of the next state over and adds an event where the root qdisc or the MTU of a watched device
// differs from the previous one. A link that went down and came up between two reads is seen by its messages alone.
func (e *events) compare(previous, next State, now time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links == nil {
		e.links = make(map[int]knownLink)
	}
	before := make(map[int]netdev.Device, len(previous.Devices))
	for _, d := range previous.Devices {
		before[d.Index] = d
	}
	for _, d := range next.Devices {
		known, ok := e.links[d.Index]
		if !ok {
			known.up = d.Up && !d.NoCarrier
		}
		role := d.Role
		if known.role.Watched() && !role.Watched() {
			role = known.role // a tunl0 that is down has none, and its coming up is still of interest
		}
		e.links[d.Index] = knownLink{d.Name, role, known.up}
		old, ok := before[d.Index]
		if !ok || !d.Role.Watched() {
			continue
		}
		event := netdev.Event{Time: now, Device: d.Name, Role: d.Role}
		if qdiscChanged(old.Root, d.Root) {
			event.Kind, event.Text = netdev.QdiscEvent, fmt.Sprintf("root qdisc changed from %s to %s", old.Root.Brief(), d.Root.Brief())
			e.add(event)
		}
		if old.MTU != d.MTU {
			event.Kind, event.Text = netdev.MTUEvent, fmt.Sprintf("MTU changed from %d to %d", old.MTU, d.MTU)
			e.add(event)
		}
	}
}

// message takes one of the messages that rtnetlink multicasts.
func (e *events) message(header syscall.NlMsghdr, body []byte, now time.Time) {
	switch header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		e.link(header.Type == unix.RTM_DELLINK, body, now)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if text := e.route(header, body); text != "" {
			e.mu.Lock()
			e.add(netdev.Event{Time: now, Kind: netdev.RouteEvent, Down: header.Type == unix.RTM_DELROUTE, Text: text})
			e.mu.Unlock()
		}
	}
}

// link adds an event when a watched link goes down or away, or comes up.
func (e *events) link(gone bool, message []byte, now time.Time) {
	l, ok := parseLink(message)
	if !ok || message[0] == unix.AF_BRIDGE { // a bridge announces its port
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	known, ok := e.links[l.index]
	up := l.up && !l.noCarrier && !gone
	if ok && known.role.Watched() && up != known.up {
		event := netdev.Event{Time: now, Kind: netdev.LinkEvent, Device: known.name, Role: known.role, Down: !up, Text: "came up"}
		switch {
		case gone:
			event.Text = "is gone"
		case !l.up:
			event.Text = "went down"
		case !up:
			event.Text = "lost its carrier"
		}
		e.add(event)
	}
	switch {
	case gone:
		delete(e.links, l.index)
	case ok:
		known.up = up
		e.links[l.index] = known
	}
}

// route describes an RTM_NEWROUTE or RTM_DELROUTE message; "" for what is no route to another host: local and multicast
// routes, and those of link-local addresses. struct rtmsg is family, destination's and source's length, TOS, table,
// protocol, scope, type, flags.
func (e *events) route(header syscall.NlMsghdr, message []byte) string {
	if len(message) < unix.SizeofRtMsg || message[4] == unix.RT_TABLE_LOCAL || u32(message, 8)&unix.RTM_F_CLONED != 0 {
		return ""
	}
	kind, ok := map[byte]string{
		unix.RTN_UNICAST: "route", unix.RTN_BLACKHOLE: "blackhole route", unix.RTN_UNREACHABLE: "unreachable route",
		unix.RTN_PROHIBIT: "prohibit route", unix.RTN_THROW: "throw route",
	}[message[7]]
	if !ok {
		return ""
	}
	destination, via, device := "default", "", ""
	for attribute, value := range attributes(message[unix.SizeofRtMsg:]) {
		switch attribute {
		case unix.RTA_DST:
			address, ok := netip.AddrFromSlice(value)
			if !ok || address.IsLinkLocalUnicast() || address.IsMulticast() {
				return ""
			}
			destination = netip.PrefixFrom(address, int(message[1])).String()
		case unix.RTA_GATEWAY:
			if address, ok := netip.AddrFromSlice(value); ok {
				via = " via " + address.String()
			}
		case unix.RTA_OIF:
			e.mu.Lock()
			if l, ok := e.links[int(u32(value, 0))]; ok {
				device = " dev " + l.name
			}
			e.mu.Unlock()
		}
	}
	what := "added"
	switch {
	case header.Type == unix.RTM_DELROUTE:
		what = "removed"
	case header.Flags&unix.NLM_F_REPLACE != 0:
		what = "replaced"
	}
	return strings.Join([]string{kind, destination + via + device, what}, " ")
}
