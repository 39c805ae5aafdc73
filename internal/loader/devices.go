package loader

import (
	"errors"
	"io"
	"maps"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/netdev"
)

// SetDevices makes the attachments those that PlanHooks wants for these devices, and tells the programs the tunnels'
// ports, the qdiscs that split, and the namespace's own addresses. Devices come and go while this runs: a hook that fails
// is reported by Hooks and tried again the next time. Nothing is attached before the first call, since drops could not be
// placed. In that call a tracepoint that fails is an error.
func (l *Loader) SetDevices(devices []netdev.Device, addresses []netip.Addr) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	plan, err := l.plan(devices, addresses)
	if err != nil {
		return err
	}
	// That takes a while, in which others ask for what is there.
	loaded, refused := l.objects.loadMore(l.objects.missing(plan.Hooks))
	l.objects.startIsOver()
	first := false
	l.locked(func() {
		maps.Copy(l.objects.hooks, loaded)
		first = len(l.attached) == 0
	})
	errs := []error{l.apply(plan, refused)}
	for h, err := range l.failed {
		if first && h.Ifindex == 0 {
			errs = append(errs, err)
		}
	}
	return advise(errors.Join(errs...))
}

// locked calls f with mu.
func (l *Loader) locked(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// plan is PlanHooks' for these devices, which the programs are told of.
func (l *Loader) plan(devices []netdev.Device, addresses []netip.Addr) (Plan, error) {
	now := Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Plan{}, errors.New("the loader is closed")
	}
	first := len(l.seen) == 0
	present := make(map[int]bool, len(devices))
	for _, d := range devices {
		present[d.Index] = true
		if _, ok := l.seen[d.Index]; !ok {
			l.seen[d.Index] = now
			if first {
				// Here before us: its set-up is long over.
				l.seen[d.Index] = now - podSetup
			}
		}
	}
	maps.DeleteFunc(l.seen, func(ifindex int, _ time.Duration) bool { return !present[ifindex] })
	plan, err := PlanHooks(l.features, devices, func(ifindex int) time.Duration { return now - l.seen[ifindex] })
	if err != nil {
		return Plan{}, err
	}
	hasHooks := map[int]bool{}
	for _, h := range plan.Hooks {
		hasHooks[h.Ifindex] = true
	}
	hooked := slices.DeleteFunc(slices.Clone(devices), func(d netdev.Device) bool { return !hasHooks[d.Index] })
	return plan, l.configure(devices, hooked, addresses)
}

// apply attaches what the plan has and we have not, but for programs that were refused, and detaches what we have and it
// has not. The caller has loading. For each attachment by TCX the kernel waits until no CPU runs the old programs, which takes it
// seconds where a hundred pods start at once: mu is left to others meanwhile.
func (l *Loader) apply(plan Plan, refused map[string]error) error {
	return l.space.do(func() error {
		l.tc.forget()
		var gone []io.Closer
		l.locked(func() {
			l.omitted = plan.Omitted
			maps.DeleteFunc(l.failed, func(h Hook, _ error) bool { return !slices.Contains(plan.Hooks, h) })
			gone = l.takeUnwanted(plan.Hooks)
		})
		var errs []error
		for _, closer := range gone {
			errs = append(errs, closer.Close())
		}
		for _, h := range plan.Hooks {
			if l.attached[h] != nil {
				continue
			}
			closer, err := io.Closer(nil), refused[h.Program]
			if err == nil {
				closer, err = l.attach(h)
			}
			l.locked(func() {
				if err != nil {
					l.failed[h] = err
				} else {
					delete(l.failed, h)
					l.attached[h] = closer
				}
			})
		}
		return errors.Join(errs...)
	})
}

// takeUnwanted takes out what is attached and not wanted. What is wanted at a device by another name stays where it is: the device was
// renamed. The caller has mu.
func (l *Loader) takeUnwanted(hooks []Hook) (gone []io.Closer) {
	want := make(map[Hook]Hook, len(hooks)) // by what does not change with the device's name
	for _, h := range hooks {
		want[h.nameless()] = h
	}
	for h, closer := range l.attached {
		now, wanted := want[h.nameless()]
		if wanted && now == h {
			continue
		}
		delete(l.attached, h)
		if t, ok := closer.(*tcHook); ok && wanted {
			t.hook = now
			l.attached[now] = closer
			continue
		}
		gone = append(gone, closer)
	}
	return gone
}

func (l *Loader) attach(h Hook) (io.Closer, error) {
	if l.attaching != nil {
		l.attaching(h)
	}
	program := l.objects.hooks[h.Program]
	if h.Ifindex == 0 {
		return attachTracepoint(h, program)
	}
	return l.attachTC(h, program)
}

// HookStatus is a hook of the plan and how it stands.
type HookStatus struct {
	Hook
	// Up tells that the program is attached, and that no other runs before it.
	Up bool `json:"up"`
	// Attached is true also where programs of others run before it: what they take, it does not see.
	Attached bool   `json:"attached"`
	Error    string `json:"error,omitempty"` // why not Up
	// Silent tells of a hook that is not up that it is attached, and never runs. The loader itself does not know.
	Silent bool `json:"silent,omitempty"`
	// Gone tells that the device was not there at the last look. The next SetDevices may not have it any more.
	Gone bool `json:"gone,omitempty"`
}

// Hooks are those of the last plan, and what it leaves out, with what is not seen since others' programs run before ours.
func (l *Loader) Hooks() ([]HookStatus, []Omission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var hooks []HookStatus
	omitted := slices.Clone(l.omitted)
	for h, closer := range l.attached {
		status := HookStatus{Hook: h, Up: true, Attached: true}
		if t, ok := closer.(*tcHook); ok {
			at := t.position()
			status.Error = at.problem()
			status.Up, status.Attached, status.Gone = status.Error == "", at.attached, at.gone
		}
		if status.Attached && !status.Up {
			omitted = append(omitted, Omission{Hook: h.Name, Device: h.Device, Reason: status.Error})
		}
		hooks = append(hooks, status)
	}
	for h, err := range l.failed {
		hooks = append(hooks, HookStatus{Hook: h, Error: err.Error()})
	}
	slices.SortFunc(hooks, func(a, b HookStatus) int {
		if a.Ifindex != b.Ifindex {
			return a.Ifindex - b.Ifindex
		}
		return slices.Compare([]string{a.Name, a.Program}, []string{b.Name, b.Program})
	})
	return hooks, omitted
}

// SeesEgress tells whether the egress hook of a device is attached, with no program of others before it.
func (l *Loader) SeesEgress(device string, ifindex int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.attached[Hook{Program: "egress", Name: "egress", Device: device, Ifindex: ifindex}].(*tcHook)
	if !ok {
		return false
	}
	at := t.position()
	return at.problem() == ""
}

// TracepointAttached tells whether a tracepoint's hook is attached.
func (l *Loader) TracepointAttached(tracepoint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := range l.attached {
		if h.Ifindex == 0 && h.Name == tracepoint {
			return true
		}
	}
	return false
}
