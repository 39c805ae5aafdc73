package diagnose

import (
	"fmt"
	"slices"
	"time"

	"tracer/internal/netdev"
)

// expectation is what a healthy queue of a kind may do. Delays are a p50 in seconds, losses a share of its packets.
type expectation struct {
	delayWarning, delayCritical float64
	lossWarning, lossCritical   float64
	reason                      string // why so
}

// What queues do on a healthy and busy node. The figures leave room above what each does by design, since an alarm on
// a healthy node costs more trust than a fault named as a warning.
var (
	// netem delays and loses what it is told to, and has no place on a node that works.
	ofNetem = expectation{0.001, 0.005, 0.001, 0.005, "netem has no place on a healthy node"}

	// Pods' and overlay's devices and bridges have no queue unless someone gives them one.
	ofNoqueue = expectation{0.001, 0.005, 0.001, 0.01, "the device has no queue by default"}

	// The CNI bandwidth plugin's tbf holds up to 25 ms (plugins/meta/bandwidth, latencyInMillis) and drops what
	// exceeds that: TCP finds its rate by losing a few percent there, as the pod's annotation wants it.
	ofBandwidth = expectation{0.05, 0.1, 0.05, 0.2, "a pod's bandwidth limit holds up to 25 ms"}

	// fq paces flows: what is slow there was sent slowly on purpose, at tens of ms between two packets of a slow
	// flow. It drops only beyond 100 packets of a flow.
	ofFQ = expectation{0.05, 0.2, 0.005, 0.02, "fq paces flows on purpose"}

	// Where the qdisc could not be read it may be any of those above.
	ofUnread = expectation{0.05, 0.2, 0.05, 0.2, "which queue it has could not be read"}

	// A FIFO of 1000 packets of 1500 bytes at 1 Gbit/s is full at 12 ms. TCP's small queues keep it far below.
	ofFIFO = expectation{0.015, 0.02, 0.005, 0.01, "1,000 packets take 12 ms at 1 Gbit/s"}
)

// ofShaper is what a shaper does that is there on purpose: hold what its limit takes, and drop what is more.
func ofShaper(d *netdev.Device) expectation {
	latency := 0.0
	for q := range d.Root.Leaves() {
		if q.LimitUnit == "bytes" && q.RateBits > 0 {
			latency = max(latency, float64(q.Limit)*8/float64(q.RateBits))
		}
		latency = max(latency, (q.Delay + q.Jitter).Seconds())
	}
	return expectation{
		delayWarning:  max(0.05, 1.2*latency),
		delayCritical: max(0.1, 2*latency),
		lossWarning:   0.1,
		lossCritical:  0.3,
		reason:        fmt.Sprintf("%s is there on purpose (--expect-qdisc)", d.Root.Kind),
	}
}

// ofLimit is what the tbf of a pod does whose annotation asks for it: hold what its limit takes beyond its burst, and drop
// what is more.
func ofLimit(d *netdev.Device) expectation {
	latency := float64(d.Root.Limit-min(d.Root.Limit, d.Root.Burst)) * 8 / float64(d.Root.RateBits)
	return expectation{
		delayWarning:  max(ofBandwidth.delayWarning, 1.5*latency),
		delayCritical: max(ofBandwidth.delayCritical, 2.5*latency),
		lossWarning:   0.2,
		lossCritical:  0.5,
		reason:        fmt.Sprintf("the pod's annotation lets it receive %s and no more", bitRate(d.Bandwidth)),
	}
}

// asAnnotated tells whether a pod's device is shaped to the rate that the pod's annotation asks for.
func asAnnotated(d *netdev.Device) bool {
	rate, want := float64(d.Root.RateBits), float64(d.Bandwidth)
	return d.Role == netdev.RolePod && d.Root.Kind == "tbf" && want > 0 && rate > 0.9*want && rate < 1.1*want
}

// ofAQM is what CoDel and its kin do: hold the standing queue at their target, by drops that TCP answers. Unless
// overloaded they lose less than 2 %, each of which is meant.
func ofAQM(kind string, target time.Duration) expectation {
	return expectation{
		delayWarning:  max(2*target.Seconds(), 0.01),
		delayCritical: max(4*target.Seconds(), 0.02),
		lossWarning:   0.02,
		lossCritical:  0.05,
		reason:        fmt.Sprintf("%s aims at %v", kind, target),
	}
}

// shapers hold packets back on purpose.
var shapers = []string{"tbf", "htb", "hfsc", "cbq", "netem"}

// expect returns what the devices of one label may do: of several, the one whose qdisc should do the least.
func expect(devices []netdev.Device, onPurpose map[string]string) expectation {
	e := ofFIFO
	for i, d := range devices {
		of := expectOf(&d)
		if want, ok := onPurpose[d.Name]; ok && want == d.Root.Kind && has(d.Root, shapers...) {
			of = ofShaper(&d)
		}
		if i == 0 || of.delayCritical < e.delayCritical {
			e = of
		}
	}
	return e
}

func expectOf(d *netdev.Device) expectation {
	leaves := slices.Collect(d.Root.Leaves())
	all := func(kinds ...string) bool {
		return len(leaves) > 0 && !slices.ContainsFunc(leaves, func(q netdev.Qdisc) bool { return !slices.Contains(kinds, q.Kind) })
	}
	noqueue := defaultOf(d) == "noqueue"
	switch {
	case has(d.Root, "netem"):
		return ofNetem
	case asAnnotated(d):
		return ofLimit(d)
	case d.Role.Shaped() && d.Root.Kind == "tbf":
		return ofBandwidth
	case noqueue && has(d.Root, "htb", "tbf", "hfsc", "cbq"):
		return ofNoqueue
	case all("fq_codel", "codel", "cake", "pie", "fq_pie", "dualpi2"):
		target := 5 * time.Millisecond // CoDel's default
		for _, q := range leaves {
			target = max(target, q.Target)
		}
		return ofAQM(leaves[0].Kind, target)
	case noqueue:
		return ofNoqueue
	case all("fq"):
		return ofFQ
	}
	return ofFIFO
}

// defaultOf is the root qdisc that a device has unless someone sets another one; "" where that depends on hardware
// and sysctl.
func defaultOf(d *netdev.Device) string {
	if d.Role.NoQueue() {
		return "noqueue"
	}
	return ""
}

// has tells whether one of the kinds is somewhere in the tree.
func has(q netdev.Qdisc, kinds ...string) bool {
	return !q.Class && slices.Contains(kinds, q.Kind) ||
		slices.ContainsFunc(q.Children, func(child netdev.Qdisc) bool { return has(child, kinds...) })
}

// classful tells whether the tree has classes to show.
func classful(q netdev.Qdisc) bool {
	return q.Class || slices.ContainsFunc(q.Children, classful)
}
