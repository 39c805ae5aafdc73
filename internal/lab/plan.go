package lab

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// tbf is a token bucket filter as the root qdisc.
type tbf struct {
	rate  uint64 // bytes per second
	limit uint64 // bytes
	burst uint64 // bytes: the largest packet, since tbf drops or splits what is larger
}

// lossTolerance is how far the loss that a rate gives may be from the one that was wished.
const lossTolerance = 0.05

// overload is how much too little tbf's rate is where no loss is wished: without any, no queue would stand.
const overload = 0.05

// minQueue is the least number of packets to make a delay of: with fewer, its steps are too coarse to speak of.
const minQueue = 3

// pureRateWait is how long a queue gets where only a rate is given.
const pureRateWait = 30 * time.Second

// planTBF makes delay and loss out of tbf, which knows only a rate and a limit. The load does not wait for
// answers, so a rate just below it lets the queue fill up to its limit and stand there: each packet that still
// finds room then waits limit/rate, and the others, 1 − rate/load of them, are dropped. The burst is
// in bytes.
func planTBF(f Fault, p passing, burst int) (tbf, Expected, error) {
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

// checkRate says what is possible where a given rate, together with the load, cannot give delay and loss.
func checkRate(f Fault, p passing) error {
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

// expect reckons what the queue does to the load once it is full, if it ever is.
func (q tbf) expect(p passing, note string) Expected {
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

// commands are the fault in the words of tc(8).
func (q tbf) commands(ns Namespace, device string) []string {
	return []string{fmt.Sprintf("ip netns exec %s tc qdisc add dev %s root handle 10: tbf rate %s burst %d limit %d",
		ns, device, formatRate(q.rate*8), q.burst, q.limit)}
}

// netem is comcast's tree: all packets of a protocol that it marks go through class 10:10 and the netem there.
type netem struct {
	delay time.Duration
	rate  uint64 // bits per second, 0 for none
	loss  float64
	limit uint64 // packets
}

// defaultNetemLimit is netem's own, in packets.
const defaultNetemLimit = 1000

// topRate is comcast's for packets that it does not hold up.
const topRate = 1_000_000_000

func planNetem(f Fault, p passing) (netem, Expected) {
	q := netem{delay: f.Delay, rate: f.Rate, loss: f.Loss, limit: defaultNetemLimit}
	if f.Limit != 0 {
		q.limit = max(1, uint64(float64(f.Limit)/p.packetBytes)) // netem counts packets, whatever their length
	}
	e := Expected{Delay: q.delay.Seconds(), Loss: q.loss, Settle: q.delay.Seconds()}
	if q.rate == 0 {
		return q, e
	}
	rate := float64(q.rate) / 8
	e.Delay += p.packetBytes / rate
	if p.bytes(f.Delay)*(1-q.loss) > rate {
		passes := p.bytes(f.Delay) * (1 - q.loss)
		full := float64(q.limit) * p.packetBytes / rate
		e.Delay, e.Loss = full, 1-rate/p.bytes(f.Delay)
		e.Settle = float64(q.limit) * p.packetBytes / (passes - rate)
		e.Note = fmt.Sprintf("the load is above this rate: the queue fills up to %d packets, which wait %.0f s", q.limit, full)
	}
	return q, e
}

func (q netem) classRate() uint64 {
	if q.rate == 0 {
		return topRate
	}
	return q.rate
}

func (q netem) commands(ns Namespace, device string) []string {
	discipline := "netem"
	if q.delay != 0 {
		discipline += " delay " + formatDelay(q.delay)
	}
	if q.rate != 0 {
		discipline += " rate " + formatRate(q.rate)
	}
	if q.loss != 0 {
		discipline += " loss " + formatLoss(q.loss)
	}
	if q.limit != defaultNetemLimit {
		discipline += fmt.Sprintf(" limit %d", q.limit)
	}
	in := fmt.Sprintf("ip netns exec %s tc ", ns)
	return []string{
		in + fmt.Sprintf("qdisc add dev %s root handle 10: htb default 1", device),
		in + fmt.Sprintf("class add dev %s parent 10: classid 10:1 htb rate %s", device, formatRate(topRate)),
		in + fmt.Sprintf("class add dev %s parent 10: classid 10:10 htb rate %s", device, formatRate(q.classRate())),
		in + fmt.Sprintf("qdisc add dev %s parent 10:10 handle 100: %s", device, discipline),
	}
}
