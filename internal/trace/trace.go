// Package trace is one packet's journey as people read it: with names, devices and stages, as JSON or drawn as a waterfall, and
// the filter that chooses journeys. It serves tracer trace, the agent's socket, and the slowest journeys in tracer top. Times
// are in seconds where the name does not say otherwise.
package trace

import (
	"cmp"
	"net/netip"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Trace is one packet's journey, or a request, with the names of its ends. As JSON it is one line.
type Trace struct {
	Time      time.Time          `json:"time"` // at the first hook
	Kind      string             `json:"kind"` // "finished", "dropped", "split" or "open"; "request"
	Direction journey.Direction  `json:"direction"`
	Src       aggregate.Identity `json:"src"`
	Dst       aggregate.Identity `json:"dst"`
	Service   string             `json:"service,omitempty"` // namespace/name, where sent to a virtual address
	// EndpointOf is the Service that it was sent to an endpoint of, where Service is empty.
	EndpointOf string  `json:"endpoint_of,omitempty"`
	First      Flow    `json:"first"` // at the first hook, before NAT
	Last       Flow    `json:"last"`  // at the last one, after it
	Hooks      []Hook  `json:"hooks"`
	Skipped    int     `json:"skipped,omitempty"` // hooks between the sixth and the last two that were not kept
	Stages     []Stage `json:"stages"`            // those passed
	// At is the stage that the packet is in, or in which it was dropped; null if the journey finished. The times of
	// Stages and At add up to the total.
	At           *Stage  `json:"at"`
	TotalSeconds float64 `json:"total_seconds"`
	Bytes        Bytes   `json:"bytes"`
	Segments     uint32  `json:"segments"`
	Weight       uint32  `json:"weight"` // packets that this one counts for
	Drop         *Drop   `json:"drop"`
	// Request is nil of a packet; what has one is a request, of kind "request".
	Request *Request `json:"request,omitempty"`
	// Header is the packet's, where headers are asked for and this one was read.
	Header *Header `json:"header,omitempty"`
	// Missed counts journeys before this one that the reader was too slow to get.
	Missed uint64 `json:"missed,omitempty"`
}

// Flow is a packet's tuple. Addresses carry their port, if the protocol has any.
type Flow struct {
	Source      string `json:"source"`
	Destination string `json:"destination"`
	Protocol    string `json:"protocol"` // "tcp", "udp" …, or the number
}

// Hook is a hook passed.
type Hook struct {
	Hook    string      `json:"hook"`
	Device  string      `json:"device"`
	Role    netdev.Role `json:"role"`
	Ifindex int         `json:"ifindex"`
	At      int64       `json:"at_ns"` // since the first hook
}

// Stage is a stage of one packet, at the device by its own name.
type Stage struct {
	Stage   journey.Stage `json:"stage"`
	Device  string        `json:"device"`
	Seconds float64       `json:"seconds"`
	NoQueue bool          `json:"no_queue"` // a queue stage without a queue
	Untimed bool          `json:"untimed"`  // the time is not the stage's own
}

// Bytes are a packet's sizes.
type Bytes struct {
	SKB  uint32 `json:"skb"`  // sk_buff length at the first hook
	IP   uint32 `json:"ip"`   // innermost IP packet there
	Wire uint32 `json:"wire"` // at the last hook, with the headers that segmentation adds
}

// Drop is where and why a packet was dropped.
type Drop struct {
	Stage    journey.Stage `json:"stage"`
	Device   string        `json:"device"`
	Reason   string        `json:"reason"`
	Location string        `json:"location"`
	Loss     bool          `json:"loss"` // false for what the kernel frees though it is no loss
	// Cause is what that means, as diagnose names it, and Meaning what dropped the packet in words. Both are "" where the
	// reason and the function do not tell, or nobody has said.
	Cause   string `json:"cause,omitempty"`
	Meaning string `json:"meaning,omitempty"`

	key aggregate.DropKey
}

// Key is the drop as it is counted.
func (d *Drop) Key() aggregate.DropKey { return d.key }

// New makes the Trace of a record. zero is the time of day at which CLOCK_MONOTONIC was zero. An error is that of package
// journey, if the record makes no path.
func New(rec *record.Record, devices *journey.Devices, names aggregate.Namer, zero time.Time) (Trace, error) {
	if isRequest(rec) {
		return newRequest(rec, devices, names, zero)
	}
	path, err := journey.PathOf(rec, devices)
	if err != nil {
		return Trace{}, err
	}
	start := rec.Start()
	t := Trace{
		Time:         zero.Add(start).UTC(),
		Kind:         rec.Kind.String(),
		Direction:    path.Direction,
		Src:          names.Lookup(rec.First.Source.Addr(), start),
		Dst:          names.Lookup(rec.Last.Destination.Addr(), start),
		First:        newFlow(&rec.First),
		Last:         newFlow(&rec.Last),
		Hooks:        make([]Hook, 0, rec.Len),
		Skipped:      rec.Skipped,
		Stages:       make([]Stage, 0, rec.Len),
		TotalSeconds: path.Total.Seconds(),
		Bytes:        Bytes{SKB: rec.SKBBytes, IP: rec.IPBytes, Wire: rec.WireBytes},
		Segments:     max(1, rec.Segments),
		Weight:       max(1, rec.Weight),
	}
	virtual := t.Dst // if it was not translated, or not yet
	if rec.First.Destination != rec.Last.Destination {
		virtual = names.Lookup(rec.First.Destination.Addr(), start)
	}
	if virtual.Service != "" {
		t.Service = qualified(virtual.Namespace, virtual.Service)
	} else {
		t.EndpointOf = aggregate.EndpointOf(names, rec.Last)
	}
	t.Src.Workload = cmp.Or(t.Src.Workload, aggregate.UnknownWorkload)
	t.Dst.Workload = cmp.Or(t.Dst.Workload, aggregate.UnknownWorkload)

	for _, hop := range rec.Passed() {
		h := Hook{Hook: hop.Hook.String(), Ifindex: hop.Ifindex, At: int64(hop.Time - start)}
		if device := devices.Find(hop.Ifindex); device != nil {
			h.Device, h.Role = device.Name, device.Role
		}
		t.Hooks = append(t.Hooks, h)
	}
	for _, step := range path.Steps() {
		t.Stages = append(t.Stages, newStage(&step))
	}
	if path.Where.Stage != "" {
		at := newStage(&path.Where)
		t.At = &at
		if rec.Kind == record.Dropped {
			t.Drop = &Drop{
				Stage: at.Stage, Device: at.Device, Location: rec.Location, Loss: path.Loss(),
				Reason: cmp.Or(rec.Reason, journey.NotSpecified),
			}
			t.Drop.key = aggregate.DropKey{
				StageKey: aggregate.StageKey{Stage: at.Stage, Direction: path.Direction}, Reason: t.Drop.Reason, Location: rec.Location, Loss: t.Drop.Loss,
			}
			if path.Where.Device != nil {
				t.Drop.key.Device = path.Where.Device.Label
			}
		}
	}
	return t, nil
}

// qualified is a name within its namespace, if it has one.
func qualified(namespace, name string) string {
	if namespace == "" {
		return name
	}
	return namespace + "/" + name
}

func newStage(step *journey.Step) Stage {
	s := Stage{Stage: step.Stage, Seconds: step.Delay.Seconds(), NoQueue: step.NoQueue, Untimed: step.Untimed}
	if step.Device != nil {
		s.Device = step.Device.Name
	}
	return s
}

func newFlow(f *record.Flow) Flow {
	return Flow{
		Source:      endpoint(f.Source, f.Protocol),
		Destination: endpoint(f.Destination, f.Protocol),
		Protocol:    cmp.Or(f.Protocol.String(), "0"),
	}
}

// endpoint is an address, with its port if the protocol has any.
func endpoint(a netip.AddrPort, protocol record.Protocol) string {
	switch {
	case !a.Addr().IsValid():
		return ""
	case protocol.Ports():
		return a.String()
	}
	return a.Addr().String()
}
