package agent

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

func TestSlowestJourneys(t *testing.T) {
	t.Parallel()
	web, api := netip.MustParseAddrPort("10.1.0.1:4000"), netip.MustParseAddrPort("10.2.0.1:80")
	known := names{web.Addr(): {Workload: "web"}, api.Addr(): {Workload: "api"}}
	devices := []netdev.Device{
		{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "fq"}},
	}
	journeyOf := func(from, to netip.AddrPort, took time.Duration) *record.Record {
		f := record.Flow{Source: from, Destination: to, Protocol: unix.IPPROTO_TCP}
		r := &record.Record{Kind: record.Finished, Attributed: true, First: f, Last: f, Len: 3, Time: time.Hour + took}
		r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: 1, Time: time.Hour}
		r.Hops[1] = record.Hop{Hook: record.Egress, Ifindex: 2, Time: time.Hour + time.Microsecond}
		r.Hops[2] = record.Hop{Hook: record.Xmit, Ifindex: 2, Time: time.Hour + took}
		return r
	}
	s := slowestJourneys{pair: aggregate.PairKey{SrcWorkload: "web", DstWorkload: "api", Direction: journey.Out}, names: known}
	for ms := 1; ms <= 20; ms++ {
		// Each in between, so that the order is not that of arrival.
		if s.consider(journeyOf(web, api, time.Duration((ms*8)%21)*time.Millisecond)) || s.consider(journeyOf(api, web, time.Second)) {
			t.Fatal("a record was wanted")
		}
	}
	dropped := journeyOf(web, api, time.Minute)
	dropped.Kind = record.Dropped
	s.consider(dropped)
	got := s.drain(devices)
	if len(got) != maxSlowest {
		t.Fatalf("%d kept", len(got))
	}
	for i, trace := range got {
		if want := float64(20-i) / 1000; trace.TotalSeconds != want || trace.Src.Workload != "web" {
			t.Errorf("%d: %v s of %+v, want %v s", i, trace.TotalSeconds, trace.Src, want)
		}
	}
	if left := s.drain(devices); len(left) != 0 {
		t.Errorf("%d are left", len(left))
	}
}
