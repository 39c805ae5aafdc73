package lab

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/vishvananda/netlink"
)

// tbf is a token bucket filter as the root qdisc.
type tbf struct {
	rate  uint64 // bytes per second
	limit uint64 // bytes
	burst uint64 // bytes: the largest packet, since tbf drops or splits what is larger
}

// lossTolerance is how far the loss that follows from a rate may be from the one that was asked for.
const lossTolerance = 0.05

// overload is the part of the load that tbf's rate lacks where no loss is asked for: without it the queue would stay empty.
const overload = 0.05

// minQueue is the least number of packets that a queue must hold to make a delay: with fewer its steps are too coarse.
const minQueue = 3

// pureRateWait is the time that a full queue takes where only a rate is given.
const pureRateWait = 30 * time.Second

// planTBF makes delay and loss with tbf, which has only a rate and a limit. The load does not wait for answers, so with a
// rate just below it the queue fills up to its limit and stays full: each packet that finds room waits limit/rate, and the
// others, 1 − rate/load of them, are dropped. The burst is in bytes.
func planTBF(f Fault, p offeredLoad, burst int) (tbf, Expected, error) {
	delay, loss := f.Delay, f.Loss
	offered := p.bytes(delay)
	needLoad := f.Delay != 0 || f.Loss != 0
	switch {
	case needLoad && p.packets == 0:
		return tbf{}, Expected{}, errors.New("tbf makes delay and loss out of the UDP load, none of which leaves through this device: give a rate and a limit, or choose another device")
	case f.Loss == 1:
		return tbf{}, Expected{}, errors.New("tbf cannot drop every packet: choose less than 100% loss")
	}
	q := tbf{burst: uint64(burst)}
	switch {
	case f.Rate != 0:
		q.rate = f.Rate / 8
		if err := checkRate(f, p); err != nil {
			return tbf{}, Expected{}, err
		}
	case loss == 0:
		q.rate = uint64((1 - overload) * offered)
	default:
		q.rate = uint64((1 - loss) * offered)
	}
	if q.rate == 0 {
		return tbf{}, Expected{}, fmt.Errorf("so little would pass that the queue never moves: choose less than %s loss", formatLoss(loss))
	}
	// The burst's time is cut to whole microseconds: one more, or packets of the largest size would all be dropped.
	q.burst += q.rate/1e6 + 1
	rate := float64(q.rate)
	note := "the delay is that of a full queue: it grows until the queue is full, and then goes up and down by a packet's time"
	var limit float64
	switch {
	case f.Limit != 0:
		limit = float64(f.Limit)
	case delay != 0:
		// A packet that finds room takes the last place, while the first is already on its way for half of the
		// time between two packets: one place more makes up for both.
		n := math.Floor(delay.Seconds()*rate/p.packetBytes + 1)
		if n < minQueue {
			return tbf{}, Expected{}, fmt.Errorf("a queue of %v holds only %.1f packets of this load: raise the load's rate to %.0f or more (`tracer lab up --rate`)",
				delay, delay.Seconds()*rate/p.packetBytes, math.Ceil(minQueue/delay.Seconds()))
		}
		limit = n * p.packetBytes
	case loss != 0:
		limit = math.Max(minQueue*p.packetBytes, underlayMTU)
		note = "tbf cannot drop without a queue: the delay is its side effect"
	default:
		limit = rate * pureRateWait.Seconds()
	}
	q.limit = uint64(limit)
	if q.limit > math.MaxUint32 {
		return tbf{}, Expected{}, fmt.Errorf("a queue of %.0f bytes is more than tbf can hold: choose a smaller rate or delay", limit)
	}
	return q, q.expect(p, note), nil
}

// checkRate refuses a rate that, together with the load, cannot give delay and loss, and says what can.
func checkRate(f Fault, p offeredLoad) error {
	if f.Delay == 0 && f.Loss == 0 {
		return nil
	}
	offered, rate := p.bytes(f.Delay), float64(f.Rate/8)
	// What the load's rate would have to be, in calls a second.
	enough := func(loss float64) float64 {
		other := offered - p.packets*p.packetBytes
		return math.Ceil((rate/(1-loss) - other) / p.packetBytes)
	}
	if offered <= rate {
		return fmt.Errorf("the load offers %.1f kbit/s here, less than %s, so no packet would wait: choose a smaller rate, or `tracer lab up --rate %.0f`",
			offered*8/1000, formatRate(f.Rate), enough(math.Max(f.Loss, overload)))
	}
	if drops := 1 - rate/offered; f.Loss != 0 && math.Abs(drops-f.Loss) > lossTolerance {
		return fmt.Errorf("without netem the loss follows from rate and load: %s of %.1f kbit/s drops %.0f%%, not %.0f%%; leave out the loss, or the rate, or use `tracer lab up --rate %.0f`",
			formatRate(f.Rate), offered*8/1000, drops*100, f.Loss*100, enough(f.Loss))
	}
	return nil
}

// expect computes what the queue does to the load once it is full, if it ever is.
func (q tbf) expect(p offeredLoad, note string) Expected {
	rate, places := float64(q.rate), math.Floor(float64(q.limit)/p.packetBytes)
	delay := time.Duration(float64(q.limit) / rate * float64(time.Second))
	offered := p.bytes(delay)
	if offered <= rate {
		return Expected{Note: "the load is below this rate: no packet of it will wait"}
	}
	loss := 1 - rate/offered
	return Expected{
		Delay:  (places - (1-loss)/2) * p.packetBytes / rate,
		Loss:   loss,
		Settle: float64(q.limit+q.burst) / (offered - rate), // the tokens are used up first
		Note:   note,
	}
}

// commands are the fault as commands of tc(8).
func (q tbf) commands(ns Namespace, device string) []string {
	return []string{fmt.Sprintf("ip netns exec %s tc qdisc add dev %s root handle 10: tbf rate %s burst %d limit %d",
		ns, device, formatRate(q.rate*8), q.burst, q.limit)}
}

func (q tbf) add(h *netlink.Handle, link netlink.Link) error {
	err := h.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: qdiscAttrs(link, netlink.HANDLE_ROOT, handleRoot),
		Rate:       q.rate,
		Limit:      uint32(q.limit),
		Buffer:     netlink.Xmittime(q.rate, uint32(q.burst)),
	})
	if err != nil {
		return fmt.Errorf("add tbf to %s: %w", link.Attrs().Name, err)
	}
	return nil
}
