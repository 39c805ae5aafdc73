package aggregate

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"tracer/internal/record"
)

// traffic is n flows of 500 workloads with delays from 10 to 200 microseconds in their queue.
func traffic(n int) (names, []record.Record) {
	r := rand.New(rand.NewPCG(1, 2))
	who := names{netip.MustParseAddr("10.2.0.1"): {Namespace: "default", Pod: "api-1", Workload: "api"}}
	records := make([]record.Record, n)
	for i := range records {
		records[i] = request(record.Finished)
		src := netip.AddrFrom4([4]byte{10, 1, byte(i % 500 >> 8), byte(i % 500)})
		who[src] = Identity{Namespace: "default", Pod: fmt.Sprint("pod-", i%500), Workload: fmt.Sprint("w", i%500)}
		from := netip.AddrPortFrom(src, uint16(i))
		records[i].First.Source, records[i].Last.Source = from, from
		delay := time.Duration(10+r.IntN(190)) * time.Microsecond
		for h := 2; h < records[i].Len; h++ {
			records[i].Hops[h].Time += delay - 500*time.Microsecond
		}
	}
	return who, records
}

// constantNames have answers that hold, as an agent's do between two changes in the cluster.
type constantNames struct{ names }

func (constantNames) Version() (uint64, time.Duration) { return 1, 0 }

func BenchmarkAdd(b *testing.B) {
	for _, flows := range []int{1, 1000, 10_000} {
		b.Run(fmt.Sprintf("flows=%d", flows), func(b *testing.B) {
			who, records := traffic(flows)
			a := newAggregator(b, Options{Namer: constantNames{who}, MaxFlows: 10_000})
			for i := range records {
				a.Add(&records[i])
			}
			b.ReportAllocs()
			b.ResetTimer()
			const batch = 256
			for i := 0; b.Loop(); i++ {
				if flows < batch {
					a.Add(&records[i%flows])
				} else if i%batch == 0 {
					at := i % (flows - batch)
					a.AddAll(records[at : at+batch])
				}
			}
		})
	}
}

// BenchmarkSnapshot copies 10,000 flows that have all changed: the longest that Add may have to wait.
func BenchmarkSnapshot(b *testing.B) {
	who, records := traffic(10_000)
	a := newAggregator(b, Options{Namer: who, MaxFlows: 10_000})
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		for i := range records {
			a.Add(&records[i])
		}
		b.StartTimer()
		a.Snapshot()
	}
}

// heapNow is the memory in use, without garbage.
func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// TestMillionFlows floods it with packets that are each of a tuple of their own: that costs no more memory than the flows
// which it keeps, and no pair a packet.
func TestMillionFlows(t *testing.T) {
	const flows, pairs = 1_000_000, 500
	who, records := traffic(pairs)
	a := newAggregator(t, Options{Namer: constantNames{who}})
	before := heapNow()
	for i := range flows {
		r := &records[i%pairs]
		from := netip.AddrPortFrom(r.First.Source.Addr(), uint16(i/pairs))
		r.First.Source, r.Last.Source = from, from
		a.Add(r)
	}
	if grown := int64(heapNow()) - int64(before); grown > 12<<20 {
		t.Errorf("%.1f MiB", float64(grown)/(1<<20))
	}
	s := a.Snapshot()
	if len(s.Flows) != DefaultMaxFlows || s.FlowOverflow != flows-DefaultMaxFlows || len(s.Pairs) != pairs {
		t.Errorf("%d flows kept, %d given up, %d pairs", len(s.Flows), s.FlowOverflow, len(s.Pairs))
	}
	for _, p := range s.Pairs {
		if p.Packets != flows/pairs || p.Path.Count() != flows/pairs {
			t.Fatalf("%s: %v packets, %d of them timed, want %d", p.SrcWorkload, p.Packets, p.Path.Count(), flows/pairs)
		}
	}
}

// TestMemory bounds what traffic of 10,000 flows in 500 pairs costs by default, with one snapshot: the agent has 60 MiB
// for all.
func TestMemory(t *testing.T) {
	who, records := traffic(10_000)
	before := heapNow()
	a := newAggregator(t, Options{Namer: who})
	for range 20 {
		rand.Shuffle(len(records), func(i, j int) { records[i].Hops, records[j].Hops = records[j].Hops, records[i].Hops })
		for i := range records {
			a.Add(&records[i])
		}
	}
	s := a.Snapshot()
	if grown := heapNow() - before; grown > 20<<20 {
		t.Errorf("%.1f MiB", float64(grown)/(1<<20))
	} else {
		t.Logf("%.1f MiB", float64(grown)/(1<<20))
	}
	runtime.KeepAlive(s)
	runtime.KeepAlive(a)
}
