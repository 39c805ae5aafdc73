package agent

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/forwarding"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// maxLookups bounds the losses that the kernel's tables are asked about at once, and maxPodLookups those of them for which a
	// pod's network namespace is entered.
	maxLookups    = 16
	maxPodLookups = 4
	// lookupFor is how long after the last of them losses are asked about: as long as a window is.
	lookupFor = 15 * time.Second
)

// routeLookups ask the kernel's tables about packets that were lost on their way through them: the kernel's reason does not
// say which rule, route or neighbour it was, and a blackhole has no reason at all. Nothing is asked while nothing is lost so.
type routeLookups struct {
	tables *forwarding.Tables

	mu   sync.Mutex
	lost map[routeLoss]*routeLosses

	reading sync.Mutex // guards what follows
	spent   readingCost
	said    map[routeLoss]record.RouteLookup // at the last reading
}

// routeLoss is what such losses have in common.
type routeLoss struct {
	destination      netip.Addr
	ingress          int // the device where they came in; of a pod's own packets, the pod's device on this side
	last             int // where they were seen last
	inPod            bool
	reason, location string
}

// routeLosses are those of one kind.
type routeLosses struct {
	source  netip.Addr
	frame   [6]byte
	packets uint64
	at      time.Duration // of the last one
}

// open opens the tables of the calling thread's network namespace.
func (l *routeLookups) open() (err error) {
	l.tables, err = forwarding.Open()
	return err
}

func (l *routeLookups) close() { l.tables.Close() }

// add takes from a batch what was lost so.
func (l *routeLookups) add(batch []record.Record) {
	for i := range batch {
		r := &batch[i]
		if r.Kind != record.Dropped || r.Len == 0 || !diagnose.IsOfRouting(r.Reason, r.Location) || r.Reason == record.OtherHost && !r.Missent {
			continue
		}
		loss := routeLoss{destination: r.Last.Destination.Addr(), reason: r.Reason, location: r.Location}
		for _, hop := range r.Passed() {
			switch hop.Hook {
			case record.PodQueue:
				loss.ingress, loss.inPod = hop.Ifindex, true
			case record.Ingress:
				loss.ingress, loss.inPod = hop.Ifindex, false
			}
			loss.last = hop.Ifindex
		}
		l.mu.Lock()
		if l.lost == nil {
			l.lost = map[routeLoss]*routeLosses{}
		}
		if l.lost[loss] == nil && len(l.lost) < maxLookups {
			l.lost[loss] = &routeLosses{}
		}
		if known := l.lost[loss]; known != nil {
			known.source, known.frame, known.at = r.Last.Source.Addr(), r.FrameMAC, r.Time
			known.packets++
		}
		l.mu.Unlock()
	}
}

// take returns what was lost lately, that with the most packets first, and forgets the rest.
func (l *routeLookups) take(now time.Duration) (recent []routeLoss, about map[routeLoss]routeLosses) {
	l.mu.Lock()
	defer l.mu.Unlock()
	about = make(map[routeLoss]routeLosses, len(l.lost))
	for loss, known := range l.lost {
		if now-known.at > lookupFor {
			delete(l.lost, loss)
			continue
		}
		recent = append(recent, loss)
		about[loss] = *known
	}
	slices.SortFunc(recent, func(x, y routeLoss) int {
		return cmp.Or(cmp.Compare(about[y].packets, about[x].packets), x.destination.Compare(y.destination),
			cmp.Compare(x.reason, y.reason), cmp.Compare(x.location, y.location), cmp.Compare(x.ingress, y.ingress))
	})
	return recent, about
}

// results are what the tables said at the last reading of what was lost lately: of all that is lost since then nothing is known.
func (l *routeLookups) results(now time.Duration) (found []record.RouteLookup) {
	recent, about := l.take(now)
	l.reading.Lock()
	defer l.reading.Unlock()
	for _, loss := range recent {
		if r, ok := l.said[loss]; ok {
			r.Packets = about[loss].packets
			found = append(found, r)
		}
	}
	return found
}

// read asks the tables about what was lost lately, if that is due: rules and routes may be many, and are listed. inPod does something
// in the network namespace of the pod behind a device, asked tells that somebody waits for a diagnosis. What cannot be read is
// returned as an error, and nothing is said of it.
func (l *routeLookups) read(now time.Time, clock time.Duration, asked bool, devices []netdev.Device, inPod func(ifindex int, do func() error) error) error {
	recent, about := l.take(clock)
	l.reading.Lock()
	defer l.reading.Unlock()
	if len(recent) == 0 {
		l.said = nil
		return nil
	}
	if !l.spent.due(now, asked) {
		return nil
	}
	began := time.Now()
	defer func() { l.spent = readingCost{now, time.Since(began)} }()
	var errs []error
	found := make([]record.RouteLookup, len(recent))
	gateways := make([]netip.Addr, len(recent)) // of pods
	pods := 0
	var destinations []netip.Addr // that this namespace's routes are read to: all at once
	for i, loss := range recent {
		known := about[loss]
		r := &found[i]
		*r = record.RouteLookup{
			Destination: loss.destination, Source: known.source, Device: nameOf(loss.ingress, devices), InPod: loss.inPod,
			Reason: loss.reason, Location: loss.location,
		}
		switch {
		case known.frame != [6]byte{}:
			r.Device = nameOf(loss.last, devices)
			destinations = append(destinations, loss.destination)
		case !loss.inPod:
			destinations = append(destinations, loss.destination)
		case pods < maxPodLookups:
			pods++
			if gateways[i] = askInPod(r, func(do func() error) error { return inPod(loss.ingress, do) }); gateways[i].IsValid() {
				destinations = append(destinations, gateways[i])
			}
		}
	}
	routes := l.tables.Routes(destinations...)
	l.said = make(map[routeLoss]record.RouteLookup, len(recent))
	full := map[bool]*record.NeighbourTable{} // by whether it is IPv6's
	for i, loss := range recent {
		r := &found[i]
		var err error
		switch frame := about[loss].frame; {
		case frame != [6]byte{}:
			err = l.missent(r, routes, frame, loss.last == loss.ingress)
		case !loss.inPod:
			err = ask(l.tables, routes, r)
		case gateways[i].IsValid():
			r.GatewaySilent, r.Disabled = l.tables.Gateway(routes, gateways[i], r.Device)
		}
		if six := loss.destination.Is6(); diagnose.MeansFullTable(loss.reason, loss.location) && err == nil {
			if full[six] == nil {
				full[six], err = l.tables.Table(loss.destination)
			}
			r.Table = full[six]
		}
		errs = append(errs, err)
		l.said[loss] = *r
	}
	return errors.Join(errs...)
}

// nameOf is the name of a device; "" if there is none of that index.
func nameOf(ifindex int, devices []netdev.Device) string {
	if at := slices.IndexFunc(devices, func(d netdev.Device) bool { return d.Index == ifindex }); at >= 0 {
		return devices[at].Name
	}
	return ""
}

// ask fills in a look-up from the tables of one network namespace.
func ask(tables *forwarding.Tables, routes *forwarding.Routes, r *record.RouteLookup) error {
	p := forwarding.Packet{Source: r.Source, Destination: r.Destination, Device: r.Device}
	if r.InPod {
		p.Device = "" // its own
	}
	r.Disabled = tables.Forwarding(p)
	if err := tables.Route(r, routes, p); err != nil {
		return err
	}
	if err := tables.Neighbour(r); err != nil || !diagnose.MeansNeighbour(r.Reason, r.Location) {
		return err
	}
	return tables.Underlay(r)
}

// askInPod asks the pod's own tables, and returns the pod's gateway, about which this node's are to be asked; none if the next hop is a
// neighbour on the pod's link. A pod whose namespace cannot be entered leaves the former out.
func askInPod(r *record.RouteLookup, inPod func(do func() error) error) (gateway netip.Addr) {
	err := inPod(func() error {
		tables, err := forwarding.Open()
		if err != nil {
			return err
		}
		defer tables.Close()
		return ask(tables, tables.Routes(r.Destination), r)
	})
	gateway = r.NextHop
	if err != nil || !gateway.IsValid() {
		if r.Destination.Is6() {
			return netip.Addr{}
		}
		gateway = calicoGateway
	}
	if gateway == r.Destination {
		return netip.Addr{}
	}
	return gateway
}

// calicoGateway is the gateway of Calico's pods, which no device has.
var calicoGateway = netip.AddrFrom4([4]byte{169, 254, 1, 1})

// missent fills in a look-up of frames for another MAC than that of the device that they came to, which freed them as they came
// in, or of the pod behind it.
func (l *routeLookups) missent(r *record.RouteLookup, routes *forwarding.Routes, frame [6]byte, cameIn bool) error {
	r.FrameAddress = net.HardwareAddr(frame[:]).String()
	if !cameIn {
		r.DeviceAddress, _ = l.tables.Peer(r.Device)
	}
	if r.DeviceAddress == "" {
		r.DeviceAddress = l.tables.LinkAddress(r.Device)
		return nil
	}
	return ask(l.tables, routes, r)
}
