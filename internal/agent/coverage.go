package agent

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"time"

	"tracer/internal/device"
	"tracer/internal/diagnose"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// silentFor is for how long a device counts packets of which its hook sees none, until that hook counts as one that never
	// runs, and minSilentPackets how many packets that takes.
	silentFor        = 5 * time.Second
	minSilentPackets = 30
)

// coverage compares what the hooks see with what the devices count, while devices and hooks come and go.
type coverage struct {
	mu    sync.Mutex // held while both are read, so that they belong together
	last  map[placedHook]counted
	hooks map[labelledHook]*hookCount
}

// placedHook is a tc hook of one device.
type placedHook struct {
	ifindex int
	hook    record.Hook
}

// counted is what a device had counted when it was read, by the label that it had then.
type counted struct {
	label string
	netdev.Traffic
}

// labelledHook is that of all devices with one label.
type labelledHook struct {
	label string
	hook  record.Hook
}

// hookCount is what devices counted while they had the hook, and since when the hook has seen none of it.
type hookCount struct {
	role           netdev.Role
	packets, bytes uint64
	silence        silence
}

// silence is since when a hook has seen nothing.
type silence struct {
	since   time.Time
	seen    uint64 // by the hook until then
	packets uint64 // by the devices until then
	missed  uint64 // packets since, if they are too many for chance; else 0
}

// readCoverage reads the devices, with their counters, and the hooks' coverage of the same time.
func (a *Agent) readCoverage() (device.State, []diagnose.HookCoverage, error) {
	c := &a.coverage
	c.mu.Lock()
	defer c.mu.Unlock()
	before, err := a.loader.Coverage()
	if err != nil {
		return device.State{}, nil, err
	}
	state, err := a.watcher.Refresh()
	if err != nil {
		return device.State{}, nil, fmt.Errorf("read the devices' counters: %w", err)
	}
	after, err := a.loader.Coverage()
	if err != nil {
		return device.State{}, nil, err
	}
	hooks, _ := a.loader.Hooks()
	c.add(a.traced(state), hooks)
	return state, c.list(before, after, time.Now(), minSilentPackets*uint64(max(1, a.Sampling().OneIn))), nil
}

// add adds what devices have counted since they were read last, if they have had the hook since.
func (c *coverage) add(devices []netdev.Device, hooks []loader.HookStatus) {
	up := make(map[placedHook]bool, len(hooks))
	for _, h := range hooks {
		if h.Ifindex != 0 && h.Attached {
			up[placedHook{h.Ifindex, record.TCHook(h.Name)}] = true
		}
	}
	now := make(map[placedHook]counted, len(up))
	if c.hooks == nil {
		c.hooks = map[labelledHook]*hookCount{}
	}
	for i := range devices {
		d := &devices[i]
		for _, hook := range []record.Hook{record.Ingress, record.Egress} {
			at := placedHook{d.Index, hook}
			if !up[at] {
				continue
			}
			key := labelledHook{d.Role.Label(d.Name), hook}
			now[at] = counted{key.label, d.Traffic}
			count := c.hooks[key]
			if count == nil {
				count = &hookCount{}
				c.hooks[key] = count
			}
			count.role = d.Role
			was, known := c.last[at]
			if !known || was.label != key.label || !d.CountsWhatHooksSee() {
				continue // where it was renamed, nobody knows how much of it was before
			}
			packets, bytes := traffic(d.Traffic, hook)
			packetsBefore, bytesBefore := traffic(was.Traffic, hook)
			count.packets += packets - min(packets, packetsBefore)
			count.bytes += bytes - min(bytes, bytesBefore)
		}
	}
	c.last = now
}

// traffic is what a device counts of what comes to one of its hooks.
func traffic(t netdev.Traffic, hook record.Hook) (packets, bytes uint64) {
	if hook == record.Egress {
		return t.TxPackets, t.TxBytes
	}
	return t.RxPackets, t.RxBytes
}

// list is the coverage of each hook. One that has missed so many packets by now is silent.
func (c *coverage) list(before, after map[string]loader.HookCoverage, now time.Time, silentPackets uint64) (list []diagnose.HookCoverage) {
	for key, count := range c.hooks {
		h := diagnose.HookCoverage{
			Device: key.label, Role: count.role, Hook: key.hook, Packets: count.packets, Bytes: count.bytes,
			Before: atHook(before[key.label], key.hook), After: atHook(after[key.label], key.hook),
		}
		if _, known := after[key.label]; !known {
			continue // one too many to have a class of its own
		}
		count.silence.update(h.After.Packets, count.packets, now, silentPackets)
		list = append(list, h)
	}
	slices.SortFunc(list, func(x, y diagnose.HookCoverage) int {
		return cmp.Or(cmp.Compare(x.Device, y.Device), cmp.Compare(x.Hook, y.Hook))
	})
	return list
}

func atHook(c loader.HookCoverage, hook record.Hook) record.Coverage {
	if hook == record.Egress {
		return c.Egress
	}
	return c.Ingress
}

// update takes what the hook has seen and the devices have counted up to now.
func (s *silence) update(seen, packets uint64, now time.Time, most uint64) {
	if seen != s.seen || s.since.IsZero() {
		*s = silence{since: now, seen: seen, packets: packets}
		return
	}
	if missed := packets - s.packets; now.Sub(s.since) >= silentFor && missed >= most {
		s.missed = missed
	}
}

// Hooks are those of the loader's last plan, with the truth of those that are attached and never run: they are down. The omissions
// are the loader's.
func (a *Agent) Hooks() ([]loader.HookStatus, []loader.Omission) {
	hooks, omitted := a.loader.Hooks()
	labels := map[int]string{}
	for _, d := range a.KnownDevices() {
		labels[d.Index] = d.Role.Label(d.Name)
	}
	c := &a.coverage
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range hooks {
		h := &hooks[i]
		count := c.hooks[labelledHook{labels[h.Ifindex], record.TCHook(h.Name)}]
		if !h.Up || h.Ifindex == 0 || count == nil || count.silence.missed == 0 {
			continue
		}
		h.Up, h.Silent = false, true
		h.Error = fmt.Sprintf("attached, but no packet reaches it: %s counted %d since it saw one; a tc program before it may take them, or redirect them past it",
			labels[h.Ifindex], count.silence.missed)
	}
	return hooks, omitted
}

// missingHooks are those that are planned and not attached.
func (a *Agent) missingHooks() (missing []diagnose.MissingHook) {
	hooks, _ := a.loader.Hooks()
	for _, h := range hooks {
		if !h.Attached {
			missing = append(missing, diagnose.MissingHook{Hook: h.Name, Device: h.Device, Reason: h.Error})
		}
	}
	return missing
}
