package loader

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// attachTracepoint attaches a program to its tracepoint. The kernel takes it away with the process.
func attachTracepoint(h Hook, program *ebpf.Program) (io.Closer, error) {
	l, err := link.AttachTracing(link.TracingOptions{Program: program})
	if err != nil {
		return nil, fmt.Errorf("attach to tracepoint %s: %w", h.Name, err)
	}
	return l, nil
}

// chain is the chain of programs that the kernel runs at a hook of a device, until one of them ends it. Others put theirs
// into it, before ours too, and take ours out.
type chain interface {
	look() (position, error)
	// enter puts our program where it sees the most. leave takes it out.
	enter() error
	leave() error
}

// position is where our program stands in a chain.
type position struct {
	attached bool
	missing  string   // if it is not attached: why
	gone     bool     // the device is, and SetDevices will hear of it
	before   []string // programs of others that run before it: what they are and do
	// better tells that it would come to stand better if it entered now.
	better bool
	// unsettled tells that someone may be about to set the device up: it is better to wait a little.
	unsettled bool
}

// problem says why the hook does not see all packets, "" if it does.
func (p *position) problem() string {
	if !p.attached {
		return p.missing
	}
	if len(p.before) == 0 {
		return ""
	}
	const most = 3
	named := p.before[:min(len(p.before), most)]
	text := strings.Join(named, " before the hook, ") + " before the hook"
	if more := len(p.before) - len(named); more > 0 {
		text += fmt.Sprintf(", and %d more", more)
	}
	return text + ": packets that it takes are not seen"
}

// tcHook is our program at a hook of a device.
type tcHook struct {
	hook Hook
	chain
	standing
	// waited tells that the chain was unsettled at the last look too.
	waited bool
	moves  pace
}

// standing is a hook's position as it was last looked at. Only that is asked for while hooks are mended, which waits for the kernel.
type standing struct {
	mu sync.Mutex
	at position
}

func (s *standing) position() position {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at
}

func (s *standing) set(at position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = at
}

// attachTC attaches a program to a device: by TCX, behind a clsact qdisc where the kernel has none or refuses it here.
func (l *Loader) attachTC(h Hook, program *ebpf.Program) (*tcHook, error) {
	fail := func(err error) (*tcHook, error) {
		return nil, fmt.Errorf("attach to %s %s: %w", h.Device, h.Name, err)
	}
	t := &tcHook{hook: h}
	var refused error
	if l.features.TCX {
		t.chain = &tcxChain{hook: h, program: program}
		if refused = t.enter(); refused == nil {
			t.set(position{attached: true})
			return t, nil
		}
		if errors.Is(refused, unix.ENODEV) || Monotonic()-l.seen[h.Ifindex] < podSetup {
			return fail(refused) // a new device is tried again, behind clsact once its set-up is over
		}
	}
	t.chain = &filterChain{hook: h, program: program, tc: &l.tc, hasTCX: l.features.TCX, note: func(state qdiscState) error {
		return l.noteQdisc(h, state)
	}}
	if err := t.enter(); err != nil {
		return fail(errors.Join(refused, err))
	}
	at, err := t.look()
	if err != nil {
		return fail(errors.Join(err, t.leave()))
	}
	t.set(at)
	return t, nil
}

// Close takes the program out.
func (t *tcHook) Close() error {
	if err := t.leave(); err != nil {
		return fmt.Errorf("detach from %s %s: %w", t.hook.Device, t.hook.Name, err)
	}
	return nil
}

// mend looks how the hook stands, and enters the chain anew where that is better. It leaves before it enters, so that no
// packet is seen twice; those of the microseconds between are not seen. If that mended something, it returns what.
func (t *tcHook) mend(now time.Duration) (mended string, err error) {
	at, err := t.look()
	if err != nil {
		return "", fmt.Errorf("look at %s %s: %w", t.hook.Device, t.hook.Name, err)
	}
	if before := t.position(); !at.attached && at.better && before.missing != "" {
		at.missing = before.missing // the first reason: the qdisc that was deleted may be there again
	}
	unsettled := at.unsettled && !t.waited
	t.set(at)
	t.waited = at.unsettled
	if !at.better || unsettled || !t.moves.allowed(now) {
		return "", nil
	}
	if err := t.leave(); err != nil {
		return "", fmt.Errorf("detach from %s %s: %w", t.hook.Device, t.hook.Name, err)
	}
	if err := t.enter(); err != nil {
		t.set(position{missing: err.Error()})
		return "", nil //nolint:nilerr // Hooks has it, and it is tried again
	}
	t.moves.moved(now)
	after, err := t.look()
	if err != nil {
		return "", fmt.Errorf("look at %s %s: %w", t.hook.Device, t.hook.Name, err)
	}
	t.set(after)
	return at.problem(), nil
}
