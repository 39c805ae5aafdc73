package export

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// TraceFilter chooses traces: those that meet all that is set. The zero TraceFilter takes every one.
type TraceFilter struct {
	// Pod is one end of the packet's way and Peer the other, whichever sends: a pod, workload or service by name or
	// namespace/name, or an address.
	Pod, Peer string
	Port      uint16 // source or destination, before or after NAT
	Device    string // a device passed; "pod" is any pod's
	// SlowerThan is the least time on this node.
	SlowerThan time.Duration
	// DropsOnly leaves out all but lost packets.
	DropsOnly bool
}

// The keys of a filter in a URL's query.
const (
	queryPod        = "pod"
	queryPeer       = "peer"
	queryPort       = "port"
	queryDevice     = "device"
	querySlowerThan = "slower_than"
	queryDrops      = "drops"
)

// ParseQuery reads what Values wrote.
func ParseQuery(query url.Values) (f TraceFilter, err error) {
	for key, values := range query {
		if len(values) != 1 {
			return TraceFilter{}, fmt.Errorf("parse filter: %s is there %d times", key, len(values))
		}
		value := values[0]
		switch key {
		case queryPod:
			f.Pod = value
		case queryPeer:
			f.Peer = value
		case queryDevice:
			f.Device = value
		case queryPort:
			port, e := strconv.ParseUint(value, 10, 16)
			f.Port, err = uint16(port), e
		case querySlowerThan:
			f.SlowerThan, err = time.ParseDuration(value)
		case queryDrops:
			f.DropsOnly, err = strconv.ParseBool(value)
		default:
			return TraceFilter{}, fmt.Errorf("parse filter: unknown key %q; there are pod, peer, port, device, slower_than, drops", key)
		}
		if err != nil {
			return TraceFilter{}, fmt.Errorf("parse filter: %s: %w", key, err)
		}
	}
	return f, nil
}

// Values is the filter as a URL's query.
func (f TraceFilter) Values() url.Values {
	query := url.Values{}
	set := func(key, value string, is bool) {
		if is {
			query.Set(key, value)
		}
	}
	set(queryPod, f.Pod, f.Pod != "")
	set(queryPeer, f.Peer, f.Peer != "")
	set(queryPort, strconv.Itoa(int(f.Port)), f.Port != 0)
	set(queryDevice, f.Device, f.Device != "")
	set(querySlowerThan, f.SlowerThan.String(), f.SlowerThan != 0)
	set(queryDrops, "true", f.DropsOnly)
	return query
}

// wants is what a record alone tells: false only for one whose trace does not match. It runs where records are read.
func (f *TraceFilter) wants(rec *record.Record) bool {
	if f.DropsOnly && rec.Kind != record.Dropped {
		return false
	}
	if f.Port != 0 && rec.First.Source.Port() != f.Port && rec.First.Destination.Port() != f.Port &&
		rec.Last.Source.Port() != f.Port && rec.Last.Destination.Port() != f.Port {
		return false
	}
	if f.SlowerThan > 0 {
		if rec.Len == 0 {
			return false
		}
		end := max(rec.Time, rec.Hops[rec.Len-1].Time)
		return end-rec.Hops[0].Time >= f.SlowerThan
	}
	return true
}

// Match tells whether a trace meets all that is set.
func (f TraceFilter) Match(t *Trace) bool {
	if f.DropsOnly && (t.Drop == nil || !t.Drop.Loss) {
		return false
	}
	if t.TotalSeconds < f.SlowerThan.Seconds() {
		return false
	}
	if f.Port != 0 && !t.hasPort(f.Port) {
		return false
	}
	if f.Device != "" && !t.passes(f.Device) {
		return false
	}
	return f.Pod == "" && f.Peer == "" ||
		t.sentBy(f.Pod) && t.sentTo(f.Peer) ||
		t.sentBy(f.Peer) && t.sentTo(f.Pod)
}

func (t *Trace) hasPort(port uint16) bool {
	for _, s := range []string{t.First.Source, t.First.Destination, t.Last.Source, t.Last.Destination} {
		if a, err := netip.ParseAddrPort(s); err == nil && a.Port() == port {
			return true
		}
	}
	return false
}

func (t *Trace) passes(device string) bool {
	return slices.ContainsFunc(t.Hooks, func(h TraceHook) bool {
		return h.Device == device || device == journey.PodLabel && h.Role == record.RolePod
	})
}

func (t *Trace) sentBy(name string) bool {
	return name == "" || goesBy(t.Src, name) || hasAddress(name, t.First.Source, t.Last.Source)
}

func (t *Trace) sentTo(name string) bool {
	if name == "" || goesBy(t.Dst, name) || hasAddress(name, t.First.Destination, t.Last.Destination) {
		return true
	}
	_, service, _ := strings.Cut(t.Service, "/")
	return t.Service != "" && (name == t.Service || name == service)
}

// goesBy tells whether somebody goes by that name.
func goesBy(id aggregate.Identity, name string) bool {
	for _, n := range []string{id.Pod, id.Workload} {
		if n != "" && (name == n || name == qualified(id.Namespace, n)) {
			return true
		}
	}
	return false
}

// hasAddress tells whether one of the endpoints has that address.
func hasAddress(address string, endpoints ...string) bool {
	want, err := netip.ParseAddr(address)
	if err != nil {
		return false
	}
	for _, s := range endpoints {
		if a, err := netip.ParseAddrPort(s); err == nil && a.Addr() == want {
			return true
		}
		if a, err := netip.ParseAddr(s); err == nil && a == want {
			return true
		}
	}
	return false
}
