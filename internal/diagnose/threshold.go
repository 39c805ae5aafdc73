package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/netdev"
)

// Threshold is where a warning begins and where a critical finding begins. 0: not judged by this.
type Threshold struct {
	WarnDelay, CriticalDelay     float64 // p50 in seconds
	WarnLoss, CriticalLoss       float64 // share of the packets
	WarnTime, CriticalTime       float64 // share of the time
	WarnSeconds, CriticalSeconds uint64  // seconds of the window in which it was seen
	// CriticalCount is how many packets, segments, round trips or connections a critical finding takes, where that is more
	// than minCritical.
	CriticalCount uint64
	Reason        string
}

// String says it in words, without the reason.
func (t Threshold) String() string {
	var parts []string
	add := func(warning, critical float64, format func(float64) string, of string) {
		switch {
		case warning == 0:
		case critical == never:
			parts = append(parts, fmt.Sprintf("%s %s (never critical)", of, format(warning)))
		case warning == critical:
			parts = append(parts, fmt.Sprintf("%s %s", of, format(critical)))
		default:
			parts = append(parts, fmt.Sprintf("%s %s (warning), %s (critical)", of, format(warning), format(critical)))
		}
	}
	whole := func(n float64) string { return plural(uint64(n), "second") }
	add(t.WarnDelay, t.CriticalDelay, seconds, "p50")
	add(t.WarnLoss, t.CriticalLoss, percent, "loss")
	add(t.WarnTime, t.CriticalTime, percent, "time")
	add(float64(t.WarnSeconds), float64(t.CriticalSeconds), whole, "for")
	text := strings.Join(parts, ", ")
	if t.CriticalCount > 0 {
		text += fmt.Sprintf(", critical from %d on", t.CriticalCount)
	}
	return strings.TrimPrefix(text, ", ")
}

// queueThresholds are the thresholds of queues, by what they are, as far as they do not depend on the device.
func queueThresholds() []Threshold {
	return []Threshold{defaultNoQueue, fifoQueue, aqmQueue("fq_codel", codelTarget), fqQueue, podLimitQueue, netemQueue, unknownQueue}
}

// delayThresholds and lossThresholds keep only the delay limits, only the loss limits.
func delayThresholds(all []Threshold) []Threshold {
	for i := range all {
		all[i].WarnLoss, all[i].CriticalLoss = 0, 0
	}
	return all
}

func lossThresholds(all []Threshold) []Threshold {
	for i := range all {
		all[i].WarnDelay, all[i].CriticalDelay = 0, 0
	}
	return all
}

// thresholdOf is what the devices of one label are judged by: of several, the strictest of theirs.
func thresholdOf(devices []netdev.Device, expected map[string]string) Threshold {
	least := fifoQueue
	for i, d := range devices {
		t := deviceThreshold(&d)
		if want, ok := expected[d.Name]; ok && want == d.Root.Kind && has(d.Root, "tbf", "htb", "hfsc", "cbq", "netem") {
			t = expectedQueue(&d)
		}
		if i == 0 || t.CriticalDelay < least.CriticalDelay {
			least = t
		}
	}
	return least
}

// deviceThreshold chooses by what the device is and by its qdiscs.
func deviceThreshold(d *netdev.Device) Threshold {
	leaves := slices.Collect(d.Root.Leaves())
	all := func(kinds ...string) bool { return onlyLeaves(&d.Root, kinds...) }
	noqueue := DefaultQdisc(d) == "noqueue"
	switch {
	case isInPod(d.Name) && all("fq"):
		return fqQueue // an application may want its packets paced
	case has(d.Root, "netem"):
		return netemQueue
	case d.Role.MayBeShaped() && asks(d) == askedFor:
		return annotatedQueue(d)
	case d.Role.MayBeShaped() && d.Root.Kind == "tbf":
		return podLimitQueue
	case noqueue && has(d.Root, "htb", "tbf", "hfsc", "cbq"):
		return defaultNoQueue
	case all("fq_codel", "codel", "cake", "pie", "fq_pie", "dualpi2"):
		target := codelTarget
		for _, q := range leaves {
			target = max(target, q.Target)
		}
		return aqmQueue(leaves[0].Kind, target)
	case noqueue:
		return defaultNoQueue
	case all("fq"):
		return fqQueue
	}
	return fifoQueue
}

// ThresholdOf is what the queue of the devices with that label is judged by; false where there is no queue.
func ThresholdOf(devices []netdev.Device, label string) (Threshold, bool) {
	queues := labelled(devices, label)
	if len(queues) == 0 {
		return Threshold{}, false
	}
	return thresholdOf(queues, nil), true
}
