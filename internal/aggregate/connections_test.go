package aggregate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// The devices of manyPods.
const (
	podWeb = iota + 1
	podV1
	podV2
	uplink
)

// manyPods has a client, two versions of who it asks behind one Service, and a third pod beyond the uplink.
func manyPods() *Aggregator {
	a := New(Options{Namer: workloads{
		"10.0.0.1": {Namespace: "default", Workload: "web"}, "10.0.0.2": {Namespace: "default", Workload: "v1"}, "10.0.0.3": {Namespace: "default", Workload: "v2"},
		"10.9.0.1": {Namespace: "default", Workload: "web"}, "10.9.0.2": {Namespace: "default", Workload: "v1"},
		"10.96.0.1": {Namespace: "default", Service: "api"},
	}})
	a.SetDevices([]netdev.Device{
		{Index: podWeb, Name: "cali1", Role: netdev.RolePod, Up: true}, {Index: podV1, Name: "cali2", Role: netdev.RolePod, Up: true},
		{Index: podV2, Name: "cali3", Role: netdev.RolePod, Up: true}, {Index: uplink, Name: "eth0", Role: netdev.RoleUplink, Up: true},
	})
	return a
}

// passed is a packet from the client's device to that of the pod behind asked.
func passed(from, asked, behind string, protocol record.Protocol, device int, at time.Duration) record.Record {
	r := record.Record{Kind: record.Finished, Time: at, Weight: 1, Len: 2}
	r.First = record.Flow{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(asked), Protocol: protocol}
	r.Last = r.First
	r.Last.Destination = netip.MustParseAddrPort(behind)
	r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: podWeb, Time: at - time.Microsecond}
	r.Hops[1] = record.Hop{Hook: record.Egress, Ifindex: device, Time: at}
	return r
}

// wantAnswered checks how many requests of a client each pair has, all of about that time.
func wantAnswered(t *testing.T, a *Aggregator, count uint64, want map[string]time.Duration) {
	t.Helper()
	for _, p := range a.Snapshot().Pairs {
		name := fmt.Sprintf("%s %s", p.DstWorkload, p.Direction)
		if p.Requests == nil {
			continue
		}
		took := want[name].Seconds()
		delete(want, name)
		h := &p.Requests.Client.Answered
		if h.Count() != count || h.Quantile(0.01) < 0.9*took || h.Quantile(0.99) > 1.1*took {
			t.Errorf("%s: %d of %v to %v s, want %d of %v s", name, h.Count(), h.Quantile(0.01), h.Quantile(0.99), count, took)
		}
	}
	for name := range want {
		t.Errorf("%s has none", name)
	}
}

// TestShortConnections asks two versions behind a Service by turns, over connections that are shorter than a second, two at once.
func TestShortConnections(t *testing.T) {
	t.Parallel()
	for _, protocol := range []record.Protocol{record.ProtocolTCP, record.ProtocolUDP} {
		a := manyPods()
		at := time.Minute
		took := []time.Duration{time.Millisecond, 40 * time.Millisecond}
		for i := range 500 {
			from := []string{fmt.Sprint("10.0.0.1:", 20000+2*i), fmt.Sprint("10.0.0.1:", 20001+2*i)}
			for k, behind := range []string{"10.0.0.2:8080", "10.0.0.3:8080"} {
				r := passed(from[k], "10.96.0.1:80", behind, protocol, podV1+k, at)
				a.Add(&r)
			}
			for k, other := range from {
				at += 20 * time.Millisecond
				r := requested(other, "10.96.0.1:80", true, record.Answered, took[k])
				r.First.Protocol, r.Time, r.Weight = protocol, at, 1
				a.Add(&r)
			}
		}
		wantAnswered(t, a, 500, map[string]time.Duration{"v1 local": took[0], "v2 local": took[1]})
	}
}

// TestNearAndFar asks one workload of which a pod is here and one elsewhere, by a Service and by their own addresses.
func TestNearAndFar(t *testing.T) {
	t.Parallel()
	for _, protocol := range []record.Protocol{record.ProtocolTCP, record.ProtocolUDP} {
		for _, asked := range [][]string{{"10.96.0.1:53", "10.96.0.1:53"}, {"10.0.0.2:53", "10.9.0.2:53"}} {
			a := manyPods()
			from := []string{"10.0.0.1:40001", "10.0.0.1:40002"}
			took := []time.Duration{time.Millisecond, 40 * time.Millisecond}
			for k, behind := range []string{"10.0.0.2:53", "10.9.0.2:53"} {
				r := passed(from[k], asked[k], behind, protocol, []int{podV1, uplink}[k], time.Minute)
				a.Add(&r)
			}
			for i := range 100 {
				k := i % 2
				r := requested(from[k], asked[k], true, record.Answered, took[k])
				r.First.Protocol, r.Weight = protocol, 1
				a.Add(&r)
			}
			wantAnswered(t, a, 50, map[string]time.Duration{"v1 local": took[0], "v1 out": took[1]})
		}
	}
}

// TestNearAndFarClients counts what a pod was asked for the clients who did: those of its own node apart.
func TestNearAndFarClients(t *testing.T) {
	t.Parallel()
	a := manyPods()
	near := passed("10.0.0.1:40001", "10.96.0.1:53", "10.0.0.2:53", record.ProtocolUDP, podV1, time.Minute)
	far := passed("10.9.0.1:40001", "10.0.0.2:53", "10.0.0.2:53", record.ProtocolUDP, podV1, time.Minute)
	far.Hops[0].Ifindex = uplink
	a.Add(&near)
	a.Add(&far)
	for _, client := range []string{"10.0.0.1:40001", "10.9.0.1:40001", "10.9.0.1:40001"} {
		r := requested("10.0.0.2:53", client, false, record.Answered, time.Millisecond)
		r.First.Protocol, r.Weight = record.ProtocolUDP, 1
		a.Add(&r)
	}
	got := map[journey.Direction]uint64{}
	for _, p := range a.Snapshot().Pairs {
		if p.Requests != nil {
			got[p.Direction] = p.Requests.Server.Answered.Count()
		}
	}
	if got[journey.Local] != 1 || got[journey.In] != 2 {
		t.Errorf("%v, want 1 from this node and 2 from another", got)
	}
}

// TestReusedPort follows a port from one pod behind a Service to the next one, and back.
func TestReusedPort(t *testing.T) {
	t.Parallel()
	a := manyPods()
	took := []time.Duration{time.Millisecond, 40 * time.Millisecond}
	for i := range 10 {
		at, k := time.Duration(i+60)*time.Minute, i%2
		p := passed("10.0.0.1:40001", "10.96.0.1:53", []string{"10.0.0.2:53", "10.0.0.3:53"}[k], record.ProtocolUDP, podV1+k, at)
		a.Add(&p)
		r := requested("10.0.0.1:40001", "10.96.0.1:53", true, record.Answered, took[k])
		r.First.Protocol, r.Time, r.Weight = record.ProtocolUDP, at, 1
		a.Add(&r)
	}
	wantAnswered(t, a, 5, map[string]time.Duration{"v1 local": took[0], "v2 local": took[1]})
}

// TestConnectionsBound keeps a bounded number of connections, the latest ones.
func TestConnectionsBound(t *testing.T) {
	t.Parallel()
	var c connections
	p := &pair{}
	key := func(i int) connectionKey { return connectionKey{port: [2]uint16{uint16(i), 80}} }
	const many = 3*maxConnections + 5
	for i := range many {
		c.put(key(i), knownConnection{pair: p})
		if len(c.latest)+len(c.before) > 2*maxConnections {
			t.Fatalf("%d and %d are kept", len(c.latest), len(c.before))
		}
	}
	if c.pair(key(many-maxConnections)) != p || c.pair(key(0)) != nil {
		t.Error("want the latest ones known, and the first ones forgotten")
	}
	p.evicted = true
	if c.pair(key(many-1)) != nil {
		t.Error("an evicted pair is found")
	}
}
