package loader

import (
	"fmt"
	"strings"

	"tracer/internal/netdev"
)

// ForeignPrograms are the BPF programs of others at the devices that a plan has hooks for, by TCX: each may hide packets from our
// hooks. Where the kernel does not tell, there are none. The calling thread must be in the devices' namespace.
func ForeignPrograms(devices []netdev.Device) (spots []Omission) {
	for _, d := range devices {
		if d.Role.WhyUnhooked() != "" {
			continue
		}
		for _, hook := range d.Role.Hooks() {
			if names := foreignPrograms(Hook{Name: hook, Ifindex: d.Index}); len(names) > 0 {
				spots = append(spots, Omission{Hook: hook, Device: d.Name, Reason: fmt.Sprintf(
					"another's BPF program runs here (%s): packets that it redirects past the devices' hooks are not seen further, "+
						"nor those that it takes where it comes before ours", strings.Join(names, ", "))})
			}
		}
	}
	return spots
}

// foreignPrograms are the names of those at a hook, without ours.
func foreignPrograms(h Hook) (names []string) {
	programs, err := tcxPrograms(h)
	if err != nil {
		return nil
	}
	for _, p := range programs {
		name := kernelName(p.ID)
		switch name {
		case kernelNames["ingress"], kernelNames["egress"]:
		case "":
			names = append(names, fmt.Sprintf("program %d", p.ID))
		default:
			names = append(names, name)
		}
	}
	return names
}
