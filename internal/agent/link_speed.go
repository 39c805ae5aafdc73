package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"tracer/internal/netdev"
)

// linkSpeeds are the speeds of uplinks in bits a second, by the device's index, where the driver knows one: that of a NIC, a bond
// or a VLAN. A veth says 10 Gbit/s, which limits nothing. It is read for the live view alone. sysfs is that of the network namespace
// in which root was mounted: the index tells whether it is ours.
func linkSpeeds(root string, devices []netdev.Device) map[int]float64 {
	speeds := map[int]float64{}
	for i := range devices {
		d := &devices[i]
		if d.Role != netdev.RoleUplink || d.Kind == "veth" {
			continue
		}
		number := func(file string) int {
			text, err := os.ReadFile(filepath.Join(root, "class/net", d.Name, file))
			if err != nil {
				return -1 // as of a device that has no link now
			}
			n, err := strconv.Atoi(strings.TrimSpace(string(text)))
			if err != nil {
				return -1
			}
			return n
		}
		if number("ifindex") != d.Index {
			continue
		}
		if mbits := number("speed"); mbits > 0 {
			speeds[d.Index] = float64(mbits) * 1e6
		}
	}
	return speeds
}
