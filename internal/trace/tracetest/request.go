// Package tracetest is what tests of traces have in common: a packet from web to api, through api's Service.
package tracetest

import (
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// The devices that a request passes.
const (
	PodIndex     = 4
	OverlayIndex = 7
	UplinkIndex  = 2
)

// Names is a Namer from a fixed list.
type Names map[netip.Addr]aggregate.Identity

// Lookup implements aggregate.Namer.
func (n Names) Lookup(a netip.Addr, _ time.Duration) aggregate.Identity { return n[a] }

// Cluster names the addresses of a request.
func Cluster() Names {
	return Names{
		netip.MustParseAddr("10.244.1.2"): {Namespace: "default", Pod: "web-1", Workload: "web", Node: "node-1"},
		netip.MustParseAddr("10.244.2.3"): {Namespace: "default", Pod: "api-1", Workload: "api", Node: "node-2"},
		netip.MustParseAddr("10.96.0.10"): {Namespace: "default", Service: "api"},
	}
}

// Flow is a TCP flow.
func Flow(src, dst string) record.Flow {
	return record.Flow{Source: netip.MustParseAddrPort(src), Destination: netip.MustParseAddrPort(dst), Protocol: unix.IPPROTO_TCP}
}

// Hop is a hop so long after a request's first one.
func Hop(hook record.Hook, ifindex, micros int) record.Hop {
	return record.Hop{Hook: hook, Ifindex: ifindex, Time: time.Hour + time.Duration(micros)*time.Microsecond}
}

// Request is the record of that packet: the overlay holds it for half a second.
func Request(kind record.Kind) record.Record {
	hops := []record.Hop{
		Hop(record.Ingress, PodIndex, 0), Hop(record.Egress, OverlayIndex, 20),
		Hop(record.Dequeue, OverlayIndex, 500_020), Hop(record.Xmit, OverlayIndex, 500_021),
		Hop(record.Egress, UplinkIndex, 500_030), Hop(record.Dequeue, UplinkIndex, 500_032), Hop(record.Xmit, UplinkIndex, 500_033),
	}
	rec := record.Record{
		Kind: kind, Attributed: true, SKBBytes: 1014, IPBytes: 1000, WireBytes: 1034, Segments: 1, Weight: 4,
		First: Flow("10.244.1.2:4000", "10.96.0.10:80"), Last: Flow("10.244.1.2:4000", "10.244.2.3:8080"),
	}
	switch kind {
	case record.Dropped:
		hops = append(hops[:2], Hop(record.Free, OverlayIndex, 25))
		rec.Reason, rec.Location = "QDISC_DROP", "__dev_queue_xmit"
	case record.InFlight:
		hops = hops[:2]
	}
	rec.Len = copy(rec.Hops[:], hops)
	rec.Time = hops[len(hops)-1].Time
	if kind == record.InFlight {
		rec.Time += 3 * time.Second
	}
	return rec
}

// Asked is a request that web has asked, or that api was asked, at the device of its pod here, after 20 ms.
func Asked(client bool, outcome record.Outcome) record.Record {
	flow := Flow("10.244.1.2:4000", "10.244.2.3:8080")
	if !client {
		flow.Source, flow.Destination = flow.Destination, flow.Source
	}
	const took = 20 * time.Millisecond
	r := record.Record{
		Kind: record.Requested, First: flow, Last: flow, Time: time.Minute, Len: 1, Weight: 4,
		Request: &record.Request{Client: client, Outcome: outcome, Took: took},
	}
	r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: PodIndex, Time: r.Time - took}
	return r
}
