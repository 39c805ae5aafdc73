package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// policedFor is for how long policers are looked at since tc was found to drop what pods send.
const policedFor = time.Minute

// policers looks at pods' policers once tc was found to drop what pods send. At rest it reads nothing.
type policers struct {
	mu    sync.Mutex
	until time.Time
}

// watch looks at them from now on, if there is such a finding.
func (p *policers) watch(found []diagnose.Finding, now time.Time) {
	dropsOfPods := func(f diagnose.Finding) bool {
		return f.Cause == diagnose.PolicyDrop && f.Device == netdev.PodLabel && f.Drops != nil && f.Drops.Reason == "TC_INGRESS"
	}
	if !slices.ContainsFunc(found, dropsOfPods) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until = now.Add(policedFor)
}

// of returns the devices with the rates of their policers; read reads those of some devices.
func (p *policers) of(devices []netdev.Device, now time.Time, read func([]int) map[int]uint64) []netdev.Device {
	p.mu.Lock()
	wanted := now.Before(p.until)
	p.mu.Unlock()
	if !wanted {
		return devices
	}
	var pods []int
	for i := range devices {
		if d := &devices[i]; d.Role == netdev.RolePod && d.Clsact {
			pods = append(pods, d.Index)
		}
	}
	rates := read(pods)
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		devices[i].Policer = rates[devices[i].Index]
	}
	return devices
}
