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

// placed are programs, not the tracer's, at places where a node's tracer has its own.
type placed struct {
	programs map[string]*ebpf.Program // by the name of the tracer's program whose places they have
	links    []io.Closer
}

// everywhere are all places of the tracer, onDevices those at network devices: no tracer of pods' packets has fewer.
func everywhere(loader.Hook) bool { return true }

func onDevices(h loader.Hook) bool { return h.Ifindex != 0 }

// attachEmpty puts programs that do nothing in some of a node's places: what they cost is the kernel's calling of a program, and no
// tracer can do without that.
func attachEmpty(node lab.Node, at func(loader.Hook) bool) (*placed, error) {
	return place(node, at, newEmptyProgram)
}

// place puts programs in some of a node's places, for each of the tracer's one.
func place(node lab.Node, at func(loader.Hook) bool, program func(loader.Hook) (*ebpf.Program, error)) (_ *placed, err error) {
	p := &placed{programs: map[string]*ebpf.Program{}}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("attach programs to %s: %w", node.Name, err), p.Close())
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
	return p, node.Do(func() error {
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
			if !at(h) {
				continue
			}
			if err := p.attach(h, program); err != nil {
				return fmt.Errorf("%s %s: %w", h.Device, h.Name, err)
			}
		}
		return nil
	})
}

func (p *placed) attach(h loader.Hook, program func(loader.Hook) (*ebpf.Program, error)) (err error) {
	if p.programs[h.Program] == nil {
		if p.programs[h.Program], err = program(h); err != nil {
			return err
		}
	}
	var l link.Link
	if h.Ifindex == 0 {
		l, err = link.AttachTracing(link.TracingOptions{Program: p.programs[h.Program]})
	} else {
		direction := ebpf.AttachTCXIngress
		if h.Name == "egress" {
			direction = ebpf.AttachTCXEgress
		}
		l, err = link.AttachTCX(link.TCXOptions{Interface: h.Ifindex, Program: p.programs[h.Program], Attach: direction, Anchor: link.Head()})
	}
	if err == nil {
		p.links = append(p.links, l)
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
func (p *placed) Close() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	for _, program := range p.programs {
		errs = append(errs, program.Close())
	}
	return errors.Join(errs...)
}

// stats are the kernel's counts of each program's runs.
func (p *placed) stats() (map[string]loader.ProgramStats, error) {
	var list []loader.ProgramStats
	for name, program := range p.programs {
		s, err := program.Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of program %s: %w", name, err)
		}
		list = append(list, loader.ProgramStats{Program: name, Runs: s.RunCount, Seconds: s.Runtime.Seconds()})
	}
	return withSum(list), nil
}
