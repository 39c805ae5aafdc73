package device

import (
	"fmt"
	"slices"
	"sync"

	"tracer/internal/ethtool"
	"tracer/internal/netdev"
)

// splitElsewhere are the features that a device needs if it is to take TCP's large packets as they are. Without one of them the
// kernel splits them in front of its driver. UDP's are fewer, and many devices cannot split them.
var splitElsewhere = []string{"tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation"}

// checksums are what stands for "tx-checksum-ip-generic". What has no checksum yet gets it by software, which splits before.
var checksums = []string{"tx-checksum-ipv4", "tx-checksum-ipv6"}

const anyChecksum = "tx-checksum-ip-generic"

// splitTunnelled are those that an uplink needs besides for what tunnels of a kind send.
var splitTunnelled = map[string][]string{
	"ipip": {"tx-ipxip4-segmentation"}, "sit": {"tx-ipxip4-segmentation"}, "ip6tnl": {"tx-ipxip6-segmentation"},
	"vxlan": udpTunnel, "geneve": udpTunnel,
	"gre": gre, "gretap": gre, "ip6gre": gre, "ip6gretap": gre,
}

var (
	udpTunnel = []string{"tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"}
	gre       = []string{"tx-gre-segmentation", "tx-gre-csum-segmentation"}
)

// packetSizes are those of the largest packets that a device takes (GSO), and that are made of what it receives (GRO), in bytes. gso4 and
// gro4 are IPv4's, which kernels before 6.3 do not tell apart; segments is how many a packet may make.
type packetSizes struct{ gso, gso4, gro, gro4, segments uint32 }

const (
	// maxSegments is what packetSizes.segments is where nothing limits it (GSO_MAX_SEGS).
	maxSegments = 65535
	// usualSize is what the sizes are where nothing says otherwise, and the largest of older kernels (GSO_LEGACY_MAX_SIZE).
	usualSize = 65536
)

// whole has also what older kernels do not tell.
func (s packetSizes) whole() packetSizes {
	if s.gro == 0 {
		s.gro = usualSize
	}
	if s.gso4 == 0 {
		s.gso4 = min(s.gso, usualSize)
	}
	if s.gro4 == 0 {
		s.gro4 = min(s.gro, usualSize)
	}
	return s
}

// tooLarge says of what size packets may come that are too large for a device, largest being the sizes of all devices; "" if none may.
// What is in a tunnel has the outer packet's limit; tunnelled tells that it passes the device.
func (s packetSizes) tooLarge(largest packetSizes, tunnelled bool) string {
	s = s.whole()
	most, most4 := max(largest.gso, largest.gro), max(largest.gso4, largest.gro4)
	if tunnelled {
		most = max(most, most4)
		most4 = most
	}
	switch {
	case s.gso < most:
		return fmt.Sprintf("gso_max_size is %d, elsewhere %d", s.gso, most)
	case s.gso4 < most4:
		return fmt.Sprintf("gso_ipv4_max_size is %d, elsewhere %d", s.gso4, most4)
	case s.segments < maxSegments:
		return fmt.Sprintf("gso_max_segs is %d", s.segments)
	}
	return ""
}

// join has the larger of each.
func (s packetSizes) join(other packetSizes) packetSizes {
	return packetSizes{max(s.gso, other.gso), max(s.gso4, other.gso4), max(s.gro, other.gro), max(s.gro4, other.gro4), max(s.segments, other.segments)}
}

// offloads are what devices take off the kernel's hands. Each is asked when it is met, and when it has changed.
type offloads struct {
	reader *ethtool.Reader

	mu      sync.Mutex
	missing map[int][]string // by a device's index: of the features above, those that it lacks
}

func openOffloads() (*offloads, error) {
	reader, err := ethtool.Open()
	return &offloads{reader: reader, missing: map[int][]string{}}, err
}

func (o *offloads) close() { _ = o.reader.Close() }

// forget has a device be asked again, all with 0.
func (o *offloads) forget(index int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if index == 0 {
		clear(o.missing)
	}
	delete(o.missing, index)
}

// set tells of the devices with hooks whether, and why, the kernel splits large packets in front of their drivers. sizes are the
// largest that they take, by their indexes.
func (o *offloads) set(devices []netdev.Device, sizes map[int]packetSizes) {
	o.mu.Lock()
	defer o.mu.Unlock()
	present := make(map[int]bool, len(devices))
	needed := slices.Clone(splitElsewhere)
	var largest packetSizes
	tunnels := false
	for i := range devices {
		d := &devices[i]
		present[d.Index] = true
		if d.Role == netdev.RoleOverlay {
			needed = append(needed, splitTunnelled[d.Kind]...)
			tunnels = true
		}
		if d.Role.WhyUnhooked() == "" {
			largest = largest.join(sizes[d.Index].whole())
		}
	}
	for index := range o.missing {
		if !present[index] {
			delete(o.missing, index)
		}
	}
	for i := range devices {
		d := &devices[i]
		if d.Role.WhyUnhooked() != "" {
			continue
		}
		need := splitElsewhere
		if d.Role == netdev.RoleUplink {
			need = needed
		}
		if lacks := firstOf(need, o.missingOf(d)); lacks != "" {
			d.SoftwareGSO = lacks + " is off"
		} else {
			d.SoftwareGSO = sizes[d.Index].tooLarge(largest, tunnels && d.Role == netdev.RoleUplink)
		}
	}
}

// firstOf is the first of some features that is missing; "" if none is.
func firstOf(need, missing []string) string {
	for _, feature := range append([]string{anyChecksum}, need...) {
		if slices.Contains(missing, feature) {
			return feature
		}
	}
	return ""
}

// missingOf are the features that a device lacks. One that does not say has none.
func (o *offloads) missingOf(d *netdev.Device) []string {
	if missing, known := o.missing[d.Index]; known {
		return missing
	}
	active, _ := o.reader.Features(d.Name)
	missing := missingIn(active)
	o.missing[d.Index] = missing
	return missing
}

func missingIn(active map[string]bool) (missing []string) {
	for _, c := range checksums {
		if !active[c] && !active[anyChecksum] {
			missing = append(missing, anyChecksum)
			break
		}
	}
	all := slices.Concat(splitElsewhere, udpTunnel, gre, splitTunnelled["ipip"], splitTunnelled["ip6tnl"])
	for _, feature := range all {
		if !active[feature] {
			missing = append(missing, feature)
		}
	}
	return missing
}
