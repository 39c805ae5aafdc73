package truth

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab/load"
	"tracer/internal/record"
)

// TestSampled follows far fewer packets than there are, and compares what is reported of all of them with what was sent and
// with the receiver's clock. What is reported is a sum of weights, each 0 or w by a chance of 1/w, which are independent: so
// its variance is the sum of w-1 over all packets, of which w(w-1) over those that were followed is an estimate. Each
// scenario prints its window, its standard error and what it found.
func TestSampled(t *testing.T) {
	r := newRig(t)
	r.run("an elephant and mice", elephantAndMice)
	r.run("half of them slow", halfSlow)
	r.run("bursts", bursts)
	r.run("drops", sampledDrops)
	r.run("both nodes", bothNodes)
}

// samplePort is where the packets of these tests go.
const samplePort = 6980

// atMost has so many packets followed in a second at most.
func atMost(records int) governor.Limits { return governor.Limits{MaxRecords: records, MaxCPU: 1e3} }

// flow is a socket of a way's pod, and so a flow of its own.
type flow struct {
	net.Conn
	packet []byte
}

// flows makes some to a port. Their packets begin with when they were sent, and have room for so much more.
func (r *rig) flows(w *podPair, port uint16, n, more int) (all []flow) {
	r.Helper()
	for range n {
		var conn net.Conn
		err := w.from.Do(func() (err error) {
			conn, err = net.Dial("udp", netip.AddrPortFrom(w.server.Addr(), port).String())
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { conn.Close() })
		all = append(all, flow{conn, make([]byte, 8+more)})
	}
	return all
}

func (f flow) send() error {
	binary.NativeEndian.PutUint64(f.packet, uint64(load.Monotonic()))
	_, err := f.Write(f.packet)
	return err
}

func (f flow) port() uint16 { return f.LocalAddr().(*net.UDPAddr).AddrPort().Port() }

// counted are the flows as the first node counts them, by the sender's port.
func (r *rig) counted() map[uint16]aggregate.Flow {
	r.Helper()
	found := map[uint16]aggregate.Flow{}
	for _, f := range r.now(0).Counts.Flows {
		if f.First.Destination.Port() == samplePort && f.Direction == journey.Out {
			found[f.First.Source.Port()] = f
		}
	}
	return found
}

// spread is the variance of what is counted of some packets, to be read when all of them are.
type spread struct {
	mu          sync.Mutex
	quick, slow float64 // of those that were on this node for less and for more than a given time
}

func (s *spread) sums() (quick, slow float64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.quick, s.slow
}

// spreads sums the variance of flows.
func (r *rig) spreads(flows []flow, long time.Duration) *spread {
	var s spread
	ours := map[uint16]bool{}
	for _, f := range flows {
		ours[f.port()] = true
	}
	// Where records are read, none is lost; nobody takes them.
	r.nodes[0].agent.Subscribe(r.Context(), func(one *record.Record) bool {
		if one.Kind != record.Finished || one.First.Destination.Port() != samplePort || !ours[one.First.Source.Port()] {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		variance := float64(one.Weight) * float64(one.Weight-1)
		if one.Hops[one.Len-1].Time-one.Hops[0].Time > long {
			s.slow += variance
		} else {
			s.quick += variance
		}
		return false
	})
	return &s
}

// sampling waits until fewer packets are followed than there are.
func (r *rig) sampling(least uint32) {
	r.Helper()
	r.eventually(20*time.Second, "the governor follows fewer packets", func() (bool, string) {
		s := r.nodes[0].agent.Sampling()
		return s.OneIn >= least, fmt.Sprintf("%+v", s)
	})
}

// steady plays something, looks meanwhile that fewer packets are followed than there are, of each flow some for certain,
// and at last that all of them together were no more records a second than there may be. It returns the sampling used most.
// A machine that is slow for a while may come to follow every packet, which is as right but tests less: that may be so one
// time in ten.
func (r *rig) steady(records int, play func() error) governor.Sampling {
	r.Helper()
	before := r.now(0).Counts
	counters := r.counters()[0]
	played := make(chan error, 1)
	go func() { played <- play() }()
	times := map[governor.Sampling]int{}
	var most governor.Sampling
	looks, others := 0, 0
	for ended := false; !ended; {
		select {
		case err := <-played:
			if err != nil {
				r.Fatal(err)
			}
			ended = true
		case <-time.After(r.interval()):
			s := r.nodes[0].agent.Sampling().Sampling
			if looks++; s.OneIn < 2 || s.FlowQuota == 0 {
				others++
			}
			if times[s]++; times[s] > times[most] {
				most = s
			}
		}
	}
	if 10*others > looks {
		r.Errorf("%d of %d times not a part of the packets was followed, with a budget: samplings %v", others, looks, times)
	}
	window := r.now(0).Counts.Since(before)
	if rate := float64(window.Records) / window.Window.Seconds(); rate > 1.5*float64(records) {
		r.Errorf("%.0f records a second, at most %d were wanted", rate, records)
	}
	// Other packets stand for what was not recorded for want of room: then a flow's count is not its own.
	after := r.counters()[0]
	if n := after.Missed["journey"] - counters.Missed["journey"] + after.TableFull - counters.TableFull; n > 0 {
		r.Errorf("%d packets were not recorded for want of room", n)
	}
	return most
}

// elephantAndMice has one flow send as fast as it can beside 200 that send a packet a second, for 30 s. Those send no
// more than their budgets: each is counted to the packet, with none of the elephant's. The elephant's own packets are
// counted to 1 %: a standard error, sqrt((N-1)/packets), is 0.2 % or 0.3 %, and more where so few are sent that 1 % is less
// than four.
func elephantAndMice(r *rig) {
	const mice, seconds, records = 200, 30, 8000
	r.follow(atMost(records))
	w := r.pairs[0]
	r.discard(w)
	// One to begin with, until the sampling is what it will be; its successor is counted from its first packet to its last.
	elephants, small := r.flows(w, samplePort, 2, 24), r.flows(w, samplePort, mice, 24)
	variance := r.spreads(elephants[1:], time.Hour)
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	next := make(chan struct{})
	ended := make(chan error, 1)
	sent := 0
	go func() {
		for one := elephants[0]; ; {
			select {
			case <-ctx.Done():
				ended <- nil
				return
			case <-next:
				one, sent = elephants[1], 0
			default:
			}
			if err := one.send(); err != nil {
				ended <- err
				return
			}
			sent++
		}
	}()
	r.sampling(2)
	used := r.steady(records, func() error {
		select {
		case next <- struct{}{}:
		case err := <-ended:
			return err
		}
		begin := time.Now()
		for n := range mice * seconds {
			time.Sleep(time.Until(begin.Add(time.Duration(n) * time.Second / mice)))
			if err := small[n%mice].send(); err != nil {
				return err
			}
		}
		stop()
		return <-ended
	})
	// Records come in turn: when each mouse's last packet is counted, so are all of the elephant's.
	for _, f := range small {
		if err := f.send(); err != nil {
			r.Fatal(err)
		}
	}
	var flows map[uint16]aggregate.Flow
	r.eventually(10*time.Second, "each mouse's packets are counted", func() (bool, string) {
		flows = r.counted()
		wrong, seen := 0, map[float64]int{}
		for _, f := range small {
			n := flows[f.port()].Packets
			if seen[n]++; n != seconds+1 {
				wrong++
			}
		}
		return wrong == 0, fmt.Sprintf("of %d mice %d have not %d packets; mice by packets: %v", mice, wrong, seconds+1, seen)
	})
	got, want := flows[elephants[1].port()].Packets, float64(sent)
	sum, _ := variance.sums()
	deviation := math.Sqrt(sum) / want
	r.tell("an elephant and mice", used, "%d packets in %d s, %+.2f ± %.2f %%; %d × %d packets beside, each of them", sent, seconds,
		100*(got/want-1), 100*deviation, mice, seconds+1)
	if deviation > 0.005 || math.Abs(got/want-1) > max(0.01, 4*deviation) {
		r.Errorf("%.0f packets of the elephant are counted, of %.0f: %+.2f %%, with a standard error of %.2f %%", got, want,
			100*(got/want-1), 100*deviation)
	}
}

// tell prints for docs/reports/accuracy.md what a scenario found, under which sampling; behind ± is a standard error.
func (r *rig) tell(scenario string, used governor.Sampling, format string, values ...any) {
	fmt.Printf("sampled\t%s\t%s\t%d\t%s\n", r.kernel, scenario, used.OneIn, fmt.Sprintf(format, values...))
}

// discard takes packets where they are sent to.
func (r *rig) discard(w *podPair) {
	r.Helper()
	var conn net.PacketConn
	err := w.to.Do(func() (err error) {
		conn, err = net.ListenPacket("udp", netip.AddrPortFrom(w.server.Addr(), samplePort).String())
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	go func() {
		for b := make([]byte, 1); ; {
			if _, _, err := conn.ReadFrom(b); err != nil {
				return
			}
		}
	}()
}
