package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/rlimit"

	"tracer/internal/device"
	"tracer/internal/lab"
	"tracer/internal/loader"
)

// empty are programs that do nothing, at all the places where a node's tracer has its own: what they cost is the
// kernel's calling of a program, and no tracer can do without that.
type empty struct {
	programs map[string]*ebpf.Program // by the name of the tracer's program whose places they have
	links    []io.Closer
}

// attachEmpty puts them in a node's places.
func attachEmpty(node lab.Node) (_ *empty, err error) {
	e := &empty{programs: map[string]*ebpf.Program{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("attach empty programs to %s: %w", node.Name, err), e.Close())
		}
	}()
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	features, err := loader.ProbeFeatures()
	if err != nil {
		return nil, err
	}
	if !features.TCX {
		return nil, errors.New("programs that go with their process need TCX, of Linux 6.6 or newer")
	}
	return e, node.Do(func() error {
		watcher, err := device.NewWatcher(device.Options{})
		if err != nil {
			return err
		}
		defer watcher.Close()
		plan, err := loader.PlanHooks(features, watcher.State().Devices, func(int) time.Duration { return time.Hour })
		if err != nil {
			return err
		}
		for _, h := range plan.Hooks {
			if err := e.attach(h); err != nil {
				return fmt.Errorf("%s %s: %w", h.Device, h.Name, err)
			}
		}
		return nil
	})
}

func (e *empty) attach(h loader.Hook) (err error) {
	program := e.programs[h.Program]
	if program == nil {
		if program, err = newEmptyProgram(h); err != nil {
			return err
		}
		e.programs[h.Program] = program
	}
	var l link.Link
	if h.Ifindex == 0 {
		l, err = link.AttachTracing(link.TracingOptions{Program: program})
	} else {
		direction := ebpf.AttachTCXIngress
		if h.Name == "egress" {
			direction = ebpf.AttachTCXEgress
		}
		l, err = link.AttachTCX(link.TCXOptions{Interface: h.Ifindex, Program: program, Attach: direction, Anchor: link.Head()})
	}
	if err == nil {
		e.links = append(e.links, l)
	}
	return err
}

// newEmptyProgram returns what the tracer's programs return: on to the next one.
func newEmptyProgram(h loader.Hook) (*ebpf.Program, error) {
	const next = -1
	spec := &ebpf.ProgramSpec{Name: "empty", Type: ebpf.SchedCLS, License: "GPL",
		Instructions: asm.Instructions{asm.Mov.Imm(asm.R0, next), asm.Return()}}
	if h.Ifindex == 0 {
		spec.Type, spec.AttachType, spec.AttachTo = ebpf.Tracing, ebpf.AttachTraceRawTp, h.Name
		spec.Instructions[0] = asm.Mov.Imm(asm.R0, 0)
	}
	return ebpf.NewProgram(spec)
}

// Close detaches them.
func (e *empty) Close() error {
	var errs []error
	for _, l := range e.links {
		errs = append(errs, l.Close())
	}
	for _, p := range e.programs {
		errs = append(errs, p.Close())
	}
	return errors.Join(errs...)
}

// stats are the kernel's counts of each program's runs.
func (e *empty) stats() (map[string]loader.ProgramStats, error) {
	var list []loader.ProgramStats
	for name, p := range e.programs {
		s, err := p.Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of an empty program: %w", err)
		}
		list = append(list, loader.ProgramStats{Program: name, Runs: s.RunCount, Seconds: s.Runtime.Seconds()})
	}
	return withSum(list), nil
}
