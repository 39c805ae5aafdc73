package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/record"
)

// TestFloodOfFlows sends each packet as a flow of its own: no more is remembered than there is room for, and who sends
// so much to whom is still counted right.
func TestFloodOfFlows(t *testing.T) {
	t.Parallel()
	const most, packets = 1000, 60_000
	c := newLimitedCluster(t, load.Config{Rate: 10, Size: 90}, governor.Limits{MaxRecords: most, MaxCPU: 1e3})
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	// What is counted is a sum of independent weights, each 0 or w with a probability of 1/w: so its variance is the sum
	// of w(w-1) over all packets, of which w² over those that were followed is an estimate.
	var variance float64
	records, lost := c.agents[0].Subscribe(ctx, func(r *record.Record) bool { return r.First.Destination.Addr() == api.Address })
	summed := make(chan struct{})
	go func() {
		defer close(summed)
		for r := range records {
			variance += float64(r.Weight) * float64(r.Weight-1)
		}
	}()
	before, begin := c.now(0), loader.Monotonic()
	if err := cache.Do(func() error { return flood(api.Address, packets) }); err != nil {
		t.Fatal(err)
	}
	took := loader.Monotonic() - begin
	c.eventually(10*time.Second, "the last of the flood is counted", func() (bool, string) {
		s := c.agents[0].Sampling()
		return s.OneIn == 1, fmt.Sprintf("%+v", s)
	})
	window := c.now(0).Counts.Since(before.Counts)
	var out float64
	for _, p := range window.Pairs {
		if p.SrcWorkload == "cache" && p.DstWorkload == lab.API {
			out += p.Packets
		}
	}
	stop()
	<-summed
	deviation := math.Sqrt(variance * float64(window.Records) / float64(window.Records-min(window.Records, lost())))
	t.Logf("%d flows in %v: %d records, %.0f packets counted (standard deviation %.0f), %d flows remembered", packets, took,
		window.Records, out, deviation, len(window.Flows))
	if math.Abs(out-packets) > max(4*deviation, 0.02*packets) {
		t.Errorf("%.0f packets counted, of %d", out, packets)
	}
	if window.Records > packets/2 || len(window.Flows) > aggregate.DefaultMaxFlows {
		t.Errorf("%d records and %d flows", window.Records, len(window.Flows))
	}
}

// flood sends datagrams with a source port and a destination port of their own each.
func flood(to netip.Addr, packets int) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_UDP)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	datagram := make([]byte, 8+16)
	binary.BigEndian.PutUint16(datagram[4:], uint16(len(datagram)))
	for i := range packets {
		binary.BigEndian.PutUint16(datagram[0:], uint16(1024+i%60_000))
		binary.BigEndian.PutUint16(datagram[2:], uint16(10_000+i/60_000))
		binary.BigEndian.PutUint32(datagram[8:], uint32(i))
		if err := unix.Sendto(socket, datagram, 0, &unix.SockaddrInet4{Addr: to.As4()}); err != nil {
			return err
		}
		if i%100 == 0 {
			time.Sleep(5 * time.Millisecond) // 20,000 a second, so that the network itself loses none
		}
	}
	return nil
}

// TestSamplingOfPaths samples every packet while a path is watched, unless they are more than the limit of records, and then goes on as before.
func TestSamplingOfPaths(t *testing.T) {
	t.Parallel()
	var s adaptiveSampling
	s.start(governor.Limits{MaxRecords: 1000, MaxCPU: 0.05}, nil)
	step := func(records uint64) governor.Sampling {
		s.spent = governor.Cost{Elapsed: governor.Epoch, WithinQuota: records}
		return s.next()
	}
	limited := step(1000) // ten times the limit
	if limited == governor.EveryPacket {
		t.Fatal("no limit")
	}
	s.watched.Add(1)
	for range 3 {
		if got := step(90); got != governor.EveryPacket {
			t.Errorf("while a path is watched: %+v", got)
		}
	}
	// The reader stands still: what came meanwhile it finds in the next epochs, and it is no flood.
	if got := step(0); got != governor.EveryPacket {
		t.Errorf("while the reader stands still: %+v", got)
	}
	if got := step(700); got != governor.EveryPacket {
		t.Errorf("as the reader goes on: %+v", got)
	}
	for range 8 {
		if got := step(90); got != governor.EveryPacket {
			t.Errorf("while a path is watched: %+v", got)
		}
	}
	if got := step(1000); got != limited {
		t.Errorf("in a flood: %+v, want what was in force, %+v", got, limited)
	}
	if got := step(0); got == governor.EveryPacket {
		t.Error("the flood is forgotten at once")
	}
	s.watched.Add(-1)
	step(0)
	s.watched.Add(1)
	if got := step(0); got != governor.EveryPacket {
		t.Errorf("of the next path: %+v", got)
	}
	s.watched.Add(-1)
	if got := step(90); got == governor.EveryPacket {
		t.Error("nobody watches any more")
	}
}
