package loader

import (
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"tracer/internal/netdev"
)

// ForeignPrograms are the BPF programs of others at the devices that a plan has hooks for, by TCX: each may hide packets from our
// hooks. Where the kernel does not tell, there are none. The calling thread must be in the devices' namespace.
func ForeignPrograms(devices []netdev.Device) (spots []Omission) {
	for _, d := range devices {
		if d.Role.WhyUnhooked() != "" {
			continue
		}
		for _, hook := range []struct {
			name   string
			attach ebpf.AttachType
		}{{"ingress", ebpf.AttachTCXIngress}, {"egress", ebpf.AttachTCXEgress}} {
			if names := foreignPrograms(d.Index, hook.attach); len(names) > 0 {
				spots = append(spots, Omission{Hook: hook.name, Device: d.Name, Reason: fmt.Sprintf(
					"another's BPF program runs here (%s): packets that it redirects past the devices' hooks are not seen further, "+
						"nor those that it takes where it comes before ours", strings.Join(names, ", "))})
			}
		}
	}
	return spots
}

// foreignPrograms are the names of those at one place, without ours.
func foreignPrograms(ifindex int, attach ebpf.AttachType) (names []string) {
	result, err := link.QueryPrograms(link.QueryOptions{Target: ifindex, Attach: attach})
	if err != nil {
		return nil
	}
	for _, p := range result.Programs {
		name := programName(p.ID)
		if !slices.Contains([]string{kernelNames["ingress"], kernelNames["egress"]}, name) {
			names = append(names, name)
		}
	}
	return names
}

// programName is a program's name in the kernel, or its number where it has none.
func programName(id ebpf.ProgramID) string {
	number := fmt.Sprintf("program %d", id)
	program, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return number
	}
	defer program.Close()
	info, err := program.Info()
	if err != nil || info.Name == "" {
		return number
	}
	return info.Name
}
