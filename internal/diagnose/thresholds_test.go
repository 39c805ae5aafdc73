package diagnose

import (
	"testing"
	"time"

	"tracer/internal/netdev"
)

// TestDeviceThreshold checks what each kind of queue is judged as.
func TestDeviceThreshold(t *testing.T) {
	t.Parallel()
	class := func(children ...netdev.Qdisc) []netdev.Qdisc {
		return []netdev.Qdisc{{Kind: "htb", Class: true, Children: children}}
	}
	for _, test := range []struct {
		role netdev.Role
		root netdev.Qdisc
		want Threshold
	}{
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "noqueue"}, defaultNoQueue},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "htb", Children: class(netdev.Qdisc{Kind: "netem"})}, netemQueue},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "htb", Children: class(netdev.Qdisc{Kind: "fq_codel"})}, defaultNoQueue},
		{netdev.RoleOverlay, netdev.Qdisc{Kind: "fq_codel"}, aqmQueue("fq_codel", 5*time.Millisecond)},
		{netdev.RolePod, netdev.Qdisc{Kind: "tbf"}, podLimitQueue},
		{netdev.RolePod, netdev.Qdisc{Kind: "tbf", Children: []netdev.Qdisc{{Kind: "netem"}}}, netemQueue},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "tbf"}, fifoQueue},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "pfifo_fast"}, fifoQueue},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "mq", Children: []netdev.Qdisc{{Kind: "fq"}, {Kind: "fq"}}}, fqQueue},
		{netdev.RoleUplink, netdev.Qdisc{Kind: "fq_codel", Target: 10 * time.Millisecond}, aqmQueue("fq_codel", 10*time.Millisecond)},
	} {
		got := deviceThreshold(&netdev.Device{Role: test.role, Root: test.root})
		if got != test.want {
			t.Errorf("%s with %s: %+v, want %+v", test.role, test.root, got, test.want)
		}
		if got.WarnDelay >= got.CriticalDelay || got.WarnLoss >= got.CriticalLoss {
			t.Errorf("%s: a warning comes after the alarm: %+v", test.root.Kind, got)
		}
	}
}

// TestAnnotatedLimit is lenient with a limit that a pod's annotation asks for.
func TestAnnotatedLimit(t *testing.T) {
	t.Parallel()
	d := netdev.Device{Role: netdev.RolePod, Bandwidth: 10_000_000, Root: netdev.Qdisc{Kind: "tbf", RateBits: 9_900_000, Limit: 100_000, LimitUnit: "bytes"}}
	if e := deviceThreshold(&d); e.WarnDelay < 0.1 || e.WarnDelay > 0.15 || e.Reason != "the pod's annotation asks for 10 Mbit/s and no more" {
		t.Errorf("100,000 bytes at 9.9 Mbit/s: %+v", e)
	}
}

// TestLasts asks for a share of long windows, in which there are many bursts.
func TestLasts(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		seconds, least uint64
		window         time.Duration
		want           bool
	}{
		{2, 2, 15 * time.Second, true},
		{1, 2, 5 * time.Second, false},
		{4, 4, 15 * time.Second, true},
		{59, 4, 10 * time.Minute, false},
		{60, 4, 10 * time.Minute, true},
	} {
		w := &window{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(test.window)}}
		if got := w.lasts(test.seconds, test.least); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}
