package loader

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// tcxChain is a hook of a device by TCX. The kernel takes our program away with the process.
type tcxChain struct {
	hook    Hook
	program *ebpf.Program

	link link.Link
	info link.Info // of it
}

func (c *tcxChain) look() (position, error) {
	programs, err := tcxPrograms(c.hook)
	if errors.Is(err, unix.ENODEV) {
		return position{missing: "the device is gone", gone: true}, nil
	}
	if err != nil {
		return position{}, err
	}
	i := slices.IndexFunc(programs, func(p link.AttachedProgram) bool {
		id, ok := p.LinkID()
		return ok && id == c.info.ID && p.ID == c.info.Program
	})
	if i < 0 {
		return position{missing: "its TCX link was detached", better: true}, nil
	}
	p := position{attached: true, better: i > 0}
	for _, other := range programs[:i] {
		p.before = append(p.before, "TCX "+programName(other.ID)+" runs")
	}
	return p, nil
}

// enter attaches in front of all others: behind a program that redirects, packets are not seen any more.
func (c *tcxChain) enter() error {
	l, err := link.AttachTCX(link.TCXOptions{
		Interface: c.hook.Ifindex, Program: c.program, Attach: tcxType(c.hook), Anchor: link.Head(),
	})
	if err != nil {
		return err
	}
	info, err := l.Info()
	if err != nil {
		l.Close()
		return fmt.Errorf("read the TCX link: %w", err)
	}
	c.link, c.info = l, *info
	return nil
}

func (c *tcxChain) leave() error {
	if c.link == nil {
		return nil
	}
	err := c.link.Close()
	c.link = nil
	return err
}

func tcxType(h Hook) ebpf.AttachType {
	if h.Name == "egress" {
		return ebpf.AttachTCXEgress
	}
	return ebpf.AttachTCXIngress
}

// tcxPrograms are those at a hook, in the order in which the kernel runs them.
func tcxPrograms(h Hook) ([]link.AttachedProgram, error) {
	result, err := link.QueryPrograms(link.QueryOptions{Target: h.Ifindex, Attach: tcxType(h)})
	if err != nil {
		return nil, fmt.Errorf("list TCX programs: %w", err)
	}
	return result.Programs, nil
}

// programName is a program's name and number; the number alone where we may not ask for the name.
func programName(id ebpf.ProgramID) string {
	if name := kernelName(id); name != "" {
		return fmt.Sprintf("program %s (%d)", name, id)
	}
	return fmt.Sprintf("program %d", id)
}

// kernelName is a program's name in the kernel, "" where it has none or we may not ask.
func kernelName(id ebpf.ProgramID) string {
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return ""
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil {
		return ""
	}
	return info.Name
}
