package agent

import (
	"errors"
	"log/slog"
	"maps"
	"sync"
	"time"

	"tracer/internal/failurelog"
	"tracer/internal/loader"
)

// mendEvery is how often the devices' hooks are looked at: others remove them, and put programs before them.
const mendEvery = 2 * time.Second

// HookPlace is a hook of a device, or of all pods' devices together (netdev.PodLabel).
type HookPlace struct{ Hook, Device string }

// mending looks after the hooks that are attached.
type mending struct {
	mu     sync.Mutex
	counts map[HookPlace]uint64

	down map[loader.Hook]*failurelog.Operation // hooks that are not up, or were not at the last look
}

// Reattached counts how often hooks were attached again, since others had removed them or put something before them.
func (a *Agent) Reattached() map[HookPlace]uint64 {
	a.mending.mu.Lock()
	defer a.mending.mu.Unlock()
	return maps.Clone(a.mending.counts)
}

// mendHooks attaches again what others removed or precede, and logs it.
func (a *Agent) mendHooks() error {
	mended, err := a.loader.MendHooks()
	if len(mended) > 0 {
		labels := map[int]string{}
		for _, d := range a.KnownDevices() {
			labels[d.Index] = d.Role.Label(d.Name)
		}
		for _, m := range mended {
			a.options.Log.Warn("a hook was attached again", "hook", m.Name, "device", m.Device, "why", m.Problem)
			if label, ok := labels[m.Ifindex]; ok {
				a.mending.add(HookPlace{m.Name, label})
			}
		}
	}
	hooks, _ := a.loader.Hooks()
	a.mending.logDown(a.options.Log, hooks)
	return err
}

func (m *mending) add(p HookPlace) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.counts == nil {
		m.counts = map[HookPlace]uint64{}
	}
	m.counts[p]++
}

// logDown logs each hook that is not up, once, and as it is up again. What is gone with its pod is nothing to tell.
func (m *mending) logDown(log *slog.Logger, hooks []loader.HookStatus) {
	before := m.down
	m.down = make(map[loader.Hook]*failurelog.Operation)
	for _, h := range hooks {
		operation := before[h.Hook]
		switch {
		case h.Gone:
		case !h.Up:
			if operation == nil {
				operation = failurelog.New(log.With("hook", h.Name, "device", h.Device), slog.LevelWarn, "a hook does not see all packets")
			}
			operation.Done(errors.New(h.Error))
			m.down[h.Hook] = operation
		case operation != nil:
			operation.Done(nil)
		}
	}
}
