package agent

import (
	"maps"
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

const (
	// policedFor is for how long policers are looked at since tc was found to drop what pods send, and policersEvery how often.
	policedFor    = time.Minute
	policersEvery = 5 * time.Second
)

// policers looks at the policers of workloads once tc was found to drop what their pods send. At rest it reads nothing.
type policers struct {
	mu    sync.Mutex
	until map[string]time.Time // by workload, as netdev.Device has it
	rates map[int]uint64       // as read last, by device
	read  time.Time
}

// watch looks at them from now on, if there is such a finding.
func (p *policers) watch(found []diagnose.Finding, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := range found {
		f := &found[i]
		if f.Cause != diagnose.PolicyDrop || f.Device != netdev.PodLabel || f.Drops == nil || f.Drops.Reason != "TC_INGRESS" {
			continue
		}
		for _, pair := range f.Pairs {
			if p.until == nil {
				p.until = map[string]time.Time{}
			}
			if p.until[pair.Src].Before(now) {
				p.read = time.Time{} // nothing is known of it
			}
			p.until[pair.Src] = now.Add(policedFor)
		}
	}
	maps.DeleteFunc(p.until, func(_ string, until time.Time) bool { return !now.Before(until) })
}

// of returns the devices with the rates of their policers; read reads those of some devices.
func (p *policers) of(devices []netdev.Device, now time.Time, read func([]int) map[int]uint64) []netdev.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	wanted := func(d *netdev.Device) bool {
		return d.Role == netdev.RolePod && d.Clsact && now.Before(p.until[d.Workload])
	}
	var pods []int
	for i := range devices {
		if wanted(&devices[i]) {
			pods = append(pods, devices[i].Index)
		}
	}
	if len(pods) == 0 {
		return devices
	}
	if now.Sub(p.read) >= policersEvery {
		p.rates, p.read = read(pods), now
	}
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		if d := &devices[i]; wanted(d) {
			d.Policer = p.rates[d.Index]
		}
	}
	return devices
}
