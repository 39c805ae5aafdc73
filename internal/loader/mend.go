package loader

import (
	"errors"
	"maps"
)

// Mended is a hook that others had removed, or had put something before, and that was attached again.
type Mended struct {
	Hook
	Problem string // what was wrong with it
}

// MendHooks looks at each hook of a device whether its program is still there and the first to run, and attaches it again
// where that helps. Hooks says how they stand after that. It is called every few seconds.
func (l *Loader) MendHooks() (mended []Mended, err error) {
	l.loading.Lock() // so that no hook comes or goes; mu is left to those who read records meanwhile
	defer l.loading.Unlock()
	l.mu.Lock()
	closed, attached := l.closed, maps.Clone(l.attached)
	l.mu.Unlock()
	if closed {
		return nil, nil
	}
	now := Monotonic()
	err = l.space.do(func() error {
		l.tc.forget()
		var errs []error
		for h, closer := range attached {
			t, ok := closer.(*tcHook)
			if !ok {
				continue
			}
			problem, err := t.mend(now)
			if err == nil && problem == "" {
				problem, err = t.returnToTCX()
			}
			errs = append(errs, err)
			if problem != "" {
				mended = append(mended, Mended{h, problem})
			}
		}
		return errors.Join(errs...)
	})
	return mended, err
}

// returnToTCX moves a hook from its filter, where TCX was refused, to TCX as soon as it is not. If others' programs ran
// before the filter, it returns that. In between a packet may be seen twice; the other way round it could be lost from sight
// each time that TCX is refused again.
func (t *tcHook) returnToTCX() (mended string, err error) {
	filter, ok := t.chain.(*filterChain)
	if !ok || !filter.hasTCX {
		return "", nil
	}
	tcx := &tcxChain{hook: t.hook, program: filter.program}
	if err := tcx.enter(); err != nil {
		return "", nil //nolint:nilerr // refused as before
	}
	at := t.position()
	mended, t.chain = at.problem(), tcx
	t.set(position{attached: true})
	return mended, filter.leave()
}

// Obstacles are what others' qdiscs and filters would keep from hooks that are not attached yet, or do keep from those that
// are. There are none where the kernel has TCX: it puts our programs first.
func Obstacles(f Features, hooks []Hook) (found []Omission, err error) {
	if f.TCX {
		return nil, nil
	}
	var tc tcReader
	defer tc.Close()
	for _, h := range hooks {
		if h.Ifindex == 0 {
			continue
		}
		kind, err := tc.qdisc(h.Ifindex)
		switch {
		case err != nil:
			return nil, err
		case kind == "":
			continue
		case kind == "ingress" && h.Name == "egress":
			found = append(found, Omission{Hook: h.Name, Device: h.Device, Reason: errIngressQdisc.Error()})
			continue
		}
		filters, err := tc.filters(h.Ifindex, h.Name)
		if err != nil {
			return nil, err
		}
		at := position{attached: true, before: texts(before(filters, bestPriority(filters)))}
		if problem := at.problem(); problem != "" {
			found = append(found, Omission{Hook: h.Name, Device: h.Device, Reason: problem})
		}
	}
	return found, nil
}
