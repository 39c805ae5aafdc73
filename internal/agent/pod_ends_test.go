package agent

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/loader"
	"tracer/internal/netdev"
)

func TestPodEnds(t *testing.T) {
	t.Parallel()
	devices := []netdev.Device{{Index: 1, Role: netdev.RoleUplink}, {Index: 7, Role: netdev.RolePod}}
	met := func(kind string, at time.Duration) map[int]loader.PodEnd {
		return map[int]loader.PodEnd{7: {
			PodEnd: netdev.PodEnd{Name: "eth0", Ifindex: 2, Netns: 5, Root: netdev.Qdisc{Kind: kind}}, Dequeued: at,
		}}
	}
	var p podEnds
	for _, step := range []struct {
		what    string
		met     map[int]loader.PodEnd
		now     time.Duration
		changed bool
		queues  bool
		kind    string
	}{
		{"nothing", nil, 1 * time.Second, false, false, ""},
		{"a rule drops", met("noqueue", 0), 2 * time.Second, true, false, "noqueue"},
		{"packets come out of a queue", met("tbf", 3*time.Second), 3 * time.Second, true, true, "tbf"},
		{"and more", met("tbf", 4*time.Second), 4 * time.Second, false, true, "tbf"},
		{"another queue, and a rule", met("netem", 0), 5 * time.Second, true, true, "netem"},
		{"nothing for a while", nil, 4*time.Second + podQueueIdle - 1, false, true, "netem"},
		{"nothing for too long", nil, 4*time.Second + podQueueIdle, true, false, "netem"},
	} {
		if changed := p.update(step.met, devices, step.now); changed != step.changed {
			t.Errorf("%s: changed %v", step.what, changed)
		}
		end := p.of(devices)[1].PodEnd
		if end == nil {
			end = &netdev.PodEnd{}
		}
		if end.Queues != step.queues || end.Root.Kind != step.kind {
			t.Errorf("%s: %+v", step.what, end)
		}
	}
	if devices[1].PodEnd != nil {
		t.Error("the state was changed")
	}
	p.update(nil, devices[:1], time.Minute)
	if got := p.of(devices)[1].PodEnd; got != nil {
		t.Errorf("of a device that was away: %+v", got)
	}
}

// TestPodEndNames bounds the labels that pods can make.
func TestPodEndNames(t *testing.T) {
	t.Parallel()
	var p podEnds
	labels := map[string]bool{}
	for i := range 100 {
		labels[p.label(fmt.Sprintf("net%d", i%50))] = true
	}
	if len(labels) != maxPodEndNames+1 || !labels["net0"] || !labels[otherPodEnd] {
		t.Errorf("%v", labels)
	}
}
