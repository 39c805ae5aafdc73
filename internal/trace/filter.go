package trace

import (
	"fmt"
	"maps"
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

// Filter chooses the journeys, or the requests, that meet all that is set. The zero Filter takes every journey.
type Filter struct {
	// Requests asks for requests, and for no journeys: SlowerThan and DropsOnly are then of their time and of those without an answer.
	Requests bool
	// Pod is one end of the packet's path and Peer the other, whichever sends: a pod, workload or Service by name or
	// namespace/name, or an address. Workload is either end, by its workload only.
	Pod, Peer, Workload string
	Port                uint16 // source or destination, before or after NAT
	Protocol            record.Protocol
	Device              string // a device passed; "pod" is any pod's
	Stage               StageFilter
	// SlowerThan is the least time on this node.
	SlowerThan time.Duration
	// DropsOnly takes only packets that were lost.
	DropsOnly bool
	// OrLost takes packets that were lost also if SlowerThan does not.
	OrLost bool
	// Headers asks for the packets' headers, too.
	Headers bool
}

// The keys of a filter in a URL's query.
const (
	queryRequests   = "requests"
	queryPod        = "pod"
	queryPeer       = "peer"
	queryWorkload   = "workload"
	queryPort       = "port"
	queryProtocol   = "proto"
	queryDevice     = "device"
	queryStage      = "stage"
	querySlowerThan = "slower_than"
	queryDrops      = "drops"
	queryOrLost     = "or_lost"
	queryHeaders    = "headers"
)

// ParseQuery reads what Values wrote.
func ParseQuery(query url.Values) (f Filter, err error) {
	for key, values := range query {
		if len(values) != 1 {
			return Filter{}, fmt.Errorf("parse filter: %s is there %d times", key, len(values))
		}
		value := values[0]
		switch key {
		case queryRequests:
			f.Requests, err = strconv.ParseBool(value)
		case queryPod:
			f.Pod = value
		case queryPeer:
			f.Peer = value
		case queryWorkload:
			f.Workload = value
		case queryDevice:
			f.Device = value
		case queryPort:
			port, e := strconv.ParseUint(value, 10, 16)
			f.Port, err = uint16(port), e
		case queryProtocol:
			err = f.Protocol.Set(value)
		case queryStage:
			err = f.Stage.Set(value)
		case querySlowerThan:
			f.SlowerThan, err = time.ParseDuration(value)
		case queryDrops:
			f.DropsOnly, err = strconv.ParseBool(value)
		case queryOrLost:
			f.OrLost, err = strconv.ParseBool(value)
		case queryHeaders:
			f.Headers, err = strconv.ParseBool(value)
		default:
			return Filter{}, fmt.Errorf("parse filter: unknown key %q; there are requests, pod, peer, workload, port, proto, device, stage, slower_than, drops, or_lost, headers", key)
		}
		if err != nil {
			return Filter{}, fmt.Errorf("parse filter: %s: %w", key, err)
		}
	}
	return f, nil
}

// Values is the filter as a URL's query.
func (f Filter) Values() url.Values {
	query := url.Values{}
	set := func(key, value string, is bool) {
		if is {
			query.Set(key, value)
		}
	}
	set(queryRequests, "true", f.Requests)
	set(queryPod, f.Pod, f.Pod != "")
	set(queryPeer, f.Peer, f.Peer != "")
	set(queryWorkload, f.Workload, f.Workload != "")
	set(queryPort, strconv.Itoa(int(f.Port)), f.Port != 0)
	set(queryProtocol, f.Protocol.String(), f.Protocol != 0)
	set(queryDevice, f.Device, f.Device != "")
	set(queryStage, f.Stage.String(), f.Stage != StageFilter{})
	set(querySlowerThan, f.SlowerThan.String(), f.SlowerThan != 0)
	set(queryDrops, "true", f.DropsOnly)
	set(queryOrLost, "true", f.OrLost)
	set(queryHeaders, "true", f.Headers)
	return query
}

// String is the filter as words: "pod=default/web port=80"; "" for one that takes all.
func (f Filter) String() string {
	f.Headers = false // of what is shown, and not of which packets
	values := f.Values()
	words := make([]string, 0, len(values))
	for _, key := range slices.Sorted(maps.Keys(values)) {
		words = append(words, key+"="+values.Get(key))
	}
	return strings.Join(words, " ")
}

// Matcher is a Filter made ready to match many records. It does not allocate, and may be used by any number of goroutines.
type Matcher struct {
	filter              Filter
	names               aggregate.Namer
	pod, peer, workload end
}

// Matcher makes the filter ready; names tell who is behind an address.
func (f Filter) Matcher(names aggregate.Namer) *Matcher {
	return &Matcher{filter: f, names: names, pod: newEnd(f.Pod), peer: newEnd(f.Peer), workload: newEnd(f.Workload)}
}

// Match tells whether a record meets all that is set. An error is that of package journey, if the path is needed and the
// record makes none.
func (m *Matcher) Match(rec *record.Record, devices *journey.Devices) (bool, error) {
	f := &m.filter
	switch {
	case f.Requests != (rec.Kind == record.Requested), !f.Requests && f.DropsOnly && rec.Kind != record.Dropped,
		f.Protocol != 0 && rec.First.Protocol != f.Protocol,
		f.Port != 0 && !hasPort(&rec.First, f.Port) && !hasPort(&rec.Last, f.Port),
		!m.between(rec):
		return false, nil
	}
	if f.Requests {
		return f.matchRequest(rec, devices), nil
	}
	if f.Device == "" && f.Stage == (StageFilter{}) && f.SlowerThan == 0 && !f.DropsOnly {
		return true, nil
	}
	path, err := journey.PathOf(rec, devices)
	if err != nil {
		return false, err
	}
	lost := rec.Kind == record.Dropped && path.Loss()
	return (!f.DropsOnly || lost) && (path.Total >= f.SlowerThan || f.OrLost && lost) &&
		(f.Device == "" || passes(rec, devices, f.Device)) && f.Stage.matchPath(&path), nil
}

// hasPort tells whether either end of the flow has the port.
func hasPort(f *record.Flow, port uint16) bool {
	return f.Source.Port() == port || f.Destination.Port() == port
}

// passes tells whether the packet passed the device of that name or label.
func passes(rec *record.Record, devices *journey.Devices, name string) bool {
	for _, hop := range rec.Passed() {
		if d := devices.Find(hop.Ifindex); d != nil && (d.Name == name || d.Label == name) {
			return true
		}
	}
	return false
}

// between tells whether the packet goes between the ends asked for, in either direction.
func (m *Matcher) between(rec *record.Record) bool {
	if m.pod == (end{}) && m.peer == (end{}) && m.workload == (end{}) {
		return true
	}
	at := rec.Start()
	src, dst := m.names.Lookup(rec.First.Source.Addr(), at), m.names.Lookup(rec.Last.Destination.Addr(), at)
	virtual := dst
	if rec.First.Destination != rec.Last.Destination {
		virtual = m.names.Lookup(rec.First.Destination.Addr(), at)
	}
	sentBy := func(e *end) bool {
		return e.isAny() || e.matches(&src) || e.hasAddress(rec.First.Source) || e.hasAddress(rec.Last.Source)
	}
	sentTo := func(e *end) bool {
		return e.isAny() || e.matches(&dst) || e.hasAddress(rec.First.Destination) || e.hasAddress(rec.Last.Destination) ||
			e.hasName(virtual.Namespace, virtual.Service) || e.isService(aggregate.EndpointOf(m.names, rec.Last))
	}
	return (sentBy(&m.pod) && sentTo(&m.peer) || sentBy(&m.peer) && sentTo(&m.pod)) &&
		(m.workload.isAny() || m.workload.hasName(src.Namespace, src.Workload) || m.workload.hasName(dst.Namespace, dst.Workload))
}

// end is an end of a path that is asked for: by address, or by a name with or without its namespace. The zero end is any.
type end struct {
	address         netip.Addr
	namespace, name string
}

func newEnd(text string) end {
	if a, err := netip.ParseAddr(text); err == nil {
		return end{address: a}
	}
	if namespace, name, ok := strings.Cut(text, "/"); ok {
		return end{namespace: namespace, name: name}
	}
	return end{name: text}
}

func (e *end) isAny() bool { return *e == end{} }

func (e *end) hasAddress(a netip.AddrPort) bool { return e.address.IsValid() && e.address == a.Addr() }

func (e *end) hasName(namespace, name string) bool {
	return name != "" && e.name == name && (e.namespace == "" || e.namespace == namespace)
}

// isService tells whether a Service, as namespace/name, has that name.
func (e *end) isService(service string) bool {
	namespace, name, _ := strings.Cut(service, "/")
	return e.hasName(namespace, name)
}

func (e *end) matches(id *aggregate.Identity) bool {
	return e.hasName(id.Namespace, id.Pod) || e.hasName(id.Namespace, id.Workload)
}
