package truth

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"tracer/internal/governor"
	"tracer/internal/hist"
)

// closedLoop is traffic of which more is sent when what was sent before has been received: a machine that stalls makes it
// slower, and changes nothing else.
type closedLoop struct {
	flows      []flow // that are counted from their first packet to their last
	before     []flow // as many that come before them
	last       flow   // and one behind
	counting   atomic.Bool
	sent, came [2]atomic.Int64    // of each kind, all in all
	waits      [2][]time.Duration // of each kind, those that are counted
	ended      func()
}

// Where a packet says of which kind it is, and whether it is counted.
const (
	kindAt    = 8
	countedAt = 9
	// closedLoopBytes is how long it is, with IP's and UDP's headers.
	closedLoopBytes = 28 + 58
)

func (r *rig) newClosedLoop(w *podPair, flows int) *closedLoop {
	r.Helper()
	all := r.flows(w, samplePort, 2*flows+1, 50)
	p := &closedLoop{flows: all[:flows], before: all[flows : 2*flows], last: all[2*flows]}
	for _, f := range p.flows {
		f.packet[countedAt] = 1
	}
	p.ended = r.arrivals(w, samplePort, func(packet []byte, took time.Duration) {
		kind := packet[kindAt]
		if packet[countedAt] == 1 {
			p.waits[kind] = append(p.waits[kind], took)
		}
		p.came[kind].Add(1)
	})
	return p
}

// send sends a packet of a kind from the next flow.
func (p *closedLoop) send(kind byte) error {
	flows := p.before
	if p.counting.Load() {
		flows = p.flows
	}
	return p.sendFrom(flows[p.sent[kind].Load()%int64(len(flows))], kind)
}

func (p *closedLoop) sendFrom(f flow, kind byte) error {
	f.packet[kindAt] = kind
	p.sent[kind].Add(1)
	return f.send()
}

// waiting is how many packets of a kind are on their way.
func (p *closedLoop) waiting(kind byte) int64 { return p.sent[kind].Load() - p.came[kind].Load() }

// play calls turn again and again: first until fewer packets are followed than there are, then for so long while packets
// are counted. It returns how long those were on the node that was left, as counted, and the sampling used most.
func (p *closedLoop) play(r *rig, records int, window time.Duration, turn func() error) (delay hist.Histogram, used governor.Sampling) {
	r.Helper()
	ctx, stop := context.WithCancel(r.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			if err := turn(); err != nil {
				ended <- err
				return
			}
		}
		ended <- nil
	}()
	r.sampling(2)
	used = r.steady(records, func() error {
		p.counting.Store(true)
		time.Sleep(window)
		stop()
		return <-ended
	})
	r.eventually(20*time.Second, "all that was sent comes", func() (bool, string) {
		return p.waiting(0)+p.waiting(1) == 0, fmt.Sprintf("%d and %d are missing", p.waiting(0), p.waiting(1))
	})
	// Records come in turn: when this one is counted, so are all.
	if err := p.sendFrom(p.last, 0); err != nil {
		r.Fatal(err)
	}
	r.eventually(10*time.Second, "the last packet is counted", func() (bool, string) {
		counted := r.counted()
		delay.Reset()
		for _, f := range p.flows {
			path := counted[f.port()].Path
			delay.Merge(&path)
		}
		return counted[p.last.port()].Packets == 1, ""
	})
	p.ended()
	return delay, used
}

// halfSlow holds every other packet of a flow for half a second, the others for 51 ms. As many packets are slow as are by
// the receiver's clock, to four standard errors; and quick ones and slow ones were as slow as by that clock.
func halfSlow(r *rig) {
	const (
		window  = 20 * time.Second
		records = 2000
		rate    = 3000 // packets a second of each kind
		long    = 150 * time.Millisecond
	)
	// The middle of one of the histogram's buckets, which are 4.4 % wide.
	holds := [2]time.Duration{51 * time.Millisecond, 510 * time.Millisecond}
	r.follow(atMost(records))
	w := r.pairs[0]
	for _, c := range []string{
		"qdisc add dev DEVICE root handle 1: htb default 10",
		"class add dev DEVICE parent 1: classid 1:10 htb rate RATE burst 1500 quantum 1500",
		"class add dev DEVICE parent 1: classid 1:20 htb rate RATE burst 1500 quantum 1500",
		"qdisc add dev DEVICE parent 1:10 pfifo limit 10000",
		"qdisc add dev DEVICE parent 1:20 pfifo limit 10000",
		fmt.Sprintf("filter add dev DEVICE parent 1: protocol ip u32 match u8 1 0xff at %d flowid 1:20", 28+kindAt),
	} {
		r.tc(0, replace(c, map[string]string{"DEVICE": w.overlay, "RATE": fmt.Sprint(rate * frameBytes(w) * 8)}))
	}
	r.Cleanup(func() { r.tc(0, "qdisc del dev "+w.overlay+" root") })
	p := r.newClosedLoop(w, 1)
	variance := r.spreads(p.flows, long)
	delay, used := p.play(r, records, window, func() error {
		some := false
		for kind, hold := range holds {
			if p.waiting(byte(kind)) < int64(rate*hold.Seconds()) {
				some = true
				if err := p.send(byte(kind)); err != nil {
					return err
				}
			}
		}
		if !some {
			time.Sleep(100 * time.Microsecond)
		}
		return nil
	})
	oracle := slices.Concat(p.waits[0], p.waits[1])
	slow := 0.0
	for _, d := range oracle {
		if d > long {
			slow++
		}
	}
	all := float64(len(oracle))
	want, got := slow/all, float64(delay.Above(long.Seconds()))/float64(delay.Count())
	quickSum, slowSum := variance.sums()
	deviation := math.Sqrt((1-want)*(1-want)*slowSum+want*want*quickSum) / all
	if 3*deviation > 0.03*want || math.Abs(got-want) > 4*deviation {
		r.Errorf("%.2f %% of the packets are slow, by the receiver's clock %.2f %%; the standard error is %.2f %%", 100*got, 100*want, 100*deviation)
	}
	// The median is none: it is where the quick ones end and the slow ones begin.
	worst := r.sameQuantiles(&delay, oracle, 0.25, 0.75, 0.9, 0.99)
	r.tell("half of them slow", used, "%.0f packets in %v, %.2f ± %.2f %% slow, in truth %.2f %%; %s", all, window, 100*got, 100*deviation,
		100*want, worst)
}

// bursts has five flows send 240 packets each at once, five times a second at most, into a queue that lets one go after
// the other: a packet waits as long as its place in the burst is late. The first ones of each flow are within its budget,
// and no more than they are.
func bursts(r *rig) {
	const (
		window  = 20 * time.Second
		records = 3000
		flows   = 5
		burst   = 240 * flows
		rate    = 6000 // packets a second that leave the queue
		every   = 200 * time.Millisecond
	)
	r.follow(atMost(records))
	w := r.pairs[0]
	frame := frameBytes(w)
	r.tc(0, fmt.Sprintf("qdisc add dev %s root tbf rate %d burst %d limit %d", w.overlay, rate*frame*8, 20*frame, 2*burst*frame))
	r.Cleanup(func() { r.tc(0, "qdisc del dev "+w.overlay+" root") })
	p := r.newClosedLoop(w, flows)
	variance := r.spreads(p.flows, time.Hour)
	var last time.Time
	delay, used := p.play(r, records, window, func() error {
		if p.waiting(0) > 0 || time.Since(last) < every {
			time.Sleep(time.Millisecond)
			return nil
		}
		last = time.Now()
		for range burst {
			if err := p.send(0); err != nil {
				return err
			}
		}
		return nil
	})
	all := float64(len(p.waits[0]))
	sum, _ := variance.sums()
	deviation := math.Sqrt(sum) / all
	// A few journeys in a thousand have no end where a kernel skips tracepoints: docs/design.md#skipped-tracepoints.
	if got := float64(delay.Count()); deviation > 0.01 || math.Abs(got/all-1) > 4*deviation+0.01 {
		r.Errorf("%.0f packets are counted, of %.0f: a standard error is %.2f %%", got, all, 100*deviation)
	}
	worst := r.sameQuantiles(&delay, p.waits[0], 0.25, 0.5, 0.9, 0.99)
	r.tell("bursts", used, "%.0f packets in %v, %+.2f ± %.2f %%; %s", all, window, 100*(float64(delay.Count())/all-1), 100*deviation, worst)
}

// frameBytes is how long a packet is to the queue of a way's overlay.
func frameBytes(w *podPair) int {
	if strings.HasPrefix(w.overlay, "vxlan") {
		return closedLoopBytes + 14
	}
	return closedLoopBytes
}

// sameQuantiles compares how long packets took with the receiver's clock, to 5 % and the way to and from the sockets, and
// tells by how much they differ.
func (r *rig) sameQuantiles(delay *hist.Histogram, oracle []time.Duration, quantiles ...float64) (text string) {
	r.Helper()
	for _, q := range quantiles {
		got, want := delay.Quantile(q), quantile(oracle, q).Seconds()
		text += fmt.Sprintf("p%.0f %.1f ms %+.1f %%, ", 100*q, 1000*want, 100*(got/want-1))
		if math.Abs(got-want) > r.tolerance(time.Duration(want*float64(time.Second))).Seconds() {
			r.Errorf("%v of the packets took up to %.4f s, by the receiver's clock up to %.4f s", q, got, want)
		}
	}
	return strings.TrimSuffix(text, ", ")
}
