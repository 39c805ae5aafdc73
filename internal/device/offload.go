package device

import (
	"runtime"
	"slices"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

const (
	featureNames  = 4    // ETH_SS_FEATURES
	getFeatures   = 0x3a // ETHTOOL_GFEATURES
	nameBytes     = 32   // ETH_GSTRING_LEN
	maxFeatures   = 256  // netdev_features_t has 64 bits
	featuresBlock = 32   // features in a block of struct ethtool_gfeatures
)

// splitElsewhere are the features (by their names in ethtool -k) that a device needs if it is to take TCP's large packets as they are.
// Without one of them the kernel splits some in front of the driver. UDP's are fewer, and many devices cannot split them: no veth can
// before 5.11. Where they matter, the programs' counters tell (loader.CountLostJourneys).
var splitElsewhere = []string{
	"tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation",
}

// splitTunnelled are those that an uplink needs besides for what tunnels of a kind send.
var splitTunnelled = map[string][]string{
	"ipip": {"tx-ipxip4-segmentation"}, "sit": {"tx-ipxip4-segmentation"}, "ip6tnl": {"tx-ipxip6-segmentation"},
	"vxlan":  {"tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"},
	"geneve": {"tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation"},
	"gre":    {"tx-gre-segmentation", "tx-gre-csum-segmentation"}, "gretap": {"tx-gre-segmentation", "tx-gre-csum-segmentation"},
	"ip6gre": {"tx-gre-segmentation", "tx-gre-csum-segmentation"}, "ip6gretap": {"tx-gre-segmentation", "tx-gre-csum-segmentation"},
}

// offloads are what devices take off the kernel's hands. They are asked for by device, so only when a device has changed.
type offloads struct {
	socket  int
	changed atomic.Bool // a device was announced since they were read

	names  []string // of the features, by bit; the same for all devices
	active map[int]features
}

// features are those that are active, by bit.
type features []uint32

// open opens the socket by which devices are asked, in the calling thread's network namespace.
func (o *offloads) open() (err error) {
	o.socket, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return err
}

func (o *offloads) close() { unix.Close(o.socket) }

// set tells the devices with hooks whether large packets are split in front of their drivers. sizes are the largest packets that
// the kernel makes for a device, by its index.
func (o *offloads) set(devices []netdev.Device, sizes map[int]gsoSize) {
	if o.changed.Swap(false) || o.active == nil {
		o.active = map[int]features{}
	}
	needed := slices.Clone(splitElsewhere)
	largest := uint32(0)
	for i := range devices {
		if devices[i].Role == netdev.RoleOverlay {
			needed = append(needed, splitTunnelled[devices[i].Kind]...)
		}
		largest = max(largest, sizes[devices[i].Index].bytes)
	}
	for i := range devices {
		d := &devices[i]
		if d.Role.WhyUnhooked() != "" {
			continue
		}
		need := needed
		if d.Role != netdev.RoleUplink {
			need = splitElsewhere
		}
		size := sizes[d.Index]
		d.SplitsInSoftware = size.bytes < largest || size.segments < maxSegments || !o.has(d, need)
	}
}

// has tells whether a device has all of some features. One that does not say has none.
func (o *offloads) has(d *netdev.Device, need []string) bool {
	f, ok := o.active[d.Index]
	if !ok {
		if len(o.names) == 0 {
			o.names = o.askNames(d.Name)
		}
		f = o.ask(d.Name, len(o.names))
		o.active[d.Index] = f
	}
	is := func(name string) bool {
		i := slices.Index(o.names, name)
		return i >= 0 && i/featuresBlock < len(f) && f[i/featuresBlock]>>(i%featuresBlock)&1 != 0
	}
	if !is("tx-checksum-ip-generic") && !(is("tx-checksum-ipv4") && is("tx-checksum-ipv6")) {
		return false // what has no checksum yet gets it by software, which splits before
	}
	return !slices.ContainsFunc(need, func(name string) bool { return !is(name) })
}

// ask returns a device's active features: struct ethtool_gfeatures is command and number of blocks, then of each block what is
// available, requested, active and never changed.
func (o *offloads) ask(device string, count int) features {
	const header, words, active = 2, 4, 2
	blocks := (count + featuresBlock - 1) / featuresBlock
	buffer := make([]uint32, header+blocks*words)
	buffer[0], buffer[1] = getFeatures, uint32(blocks)
	if blocks == 0 || o.call(device, unsafe.Pointer(&buffer[0])) != nil {
		return nil
	}
	f := make(features, min(blocks, int(buffer[1])))
	for i := range f {
		f[i] = buffer[header+i*words+active]
	}
	return f
}

// askNames returns the features' names: struct ethtool_sset_info and struct ethtool_gstrings.
func (o *offloads) askNames(device string) (names []string) {
	info := struct {
		command, reserved uint32
		mask              uint64
		count             uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << featureNames}
	if o.call(device, unsafe.Pointer(&info)) != nil || info.mask == 0 || info.count > maxFeatures {
		return nil
	}
	const header = 3
	buffer := make([]uint32, header+info.count*nameBytes/4)
	copy(buffer, []uint32{unix.ETHTOOL_GSTRINGS, featureNames, info.count})
	if o.call(device, unsafe.Pointer(&buffer[0])) != nil || buffer[2] != info.count {
		return nil
	}
	text := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(buffer[header:]))), info.count*nameBytes)
	for i := range int(info.count) {
		names = append(names, unix.ByteSliceToString(text[i*nameBytes:(i+1)*nameBytes]))
	}
	return names
}

// call calls the driver (SIOCETHTOOL) with a command and room for its answer.
func (o *offloads) call(device string, command unsafe.Pointer) error {
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	request.data = command
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(o.socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(command)
	if errno != 0 {
		return errno
	}
	return nil
}
