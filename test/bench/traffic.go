package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
)

// traffic is a node with pods' devices and an uplink, and what enters at the ones to leave by the other. The other
// ends of all are in one namespace, where nobody answers.
type traffic struct {
	load    nodeLoad
	outside netns.NsHandle
	pods    []int // the indices of the pods' ends
	*sender
}

var podMAC = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee} // likewise

const (
	podDevice = "cali%011x" // as Calico names them
	uplink    = "eth0"
	farPod    = "pod%d"
	farUplink = "wire"
)

// newTraffic makes the node of the calling thread's network namespace, which is to be empty. The thread must be
// locked.
func newTraffic(load nodeLoad) (_ *traffic, err error) {
	t := &traffic{load: load, outside: netns.None()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make a node with traffic: %w", err), t.Close())
		}
	}()
	here, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	// It enters what it makes.
	if t.outside, err = netns.New(); err != nil {
		return nil, err
	}
	if err := errors.Join(quietIPv6(), netns.Set(here)); err != nil {
		return nil, err
	}
	outside, err := netlink.NewHandleAt(t.outside)
	if err != nil {
		return nil, err
	}
	defer outside.Close()
	inside, err := netlink.NewHandleAt(here)
	if err != nil {
		return nil, err
	}
	defer inside.Close()

	// Packets of many pods come in by one device, which has a route to none of them.
	for name, value := range map[string]string{"ip_forward": "1", "conf/all/rp_filter": "0", "conf/default/rp_filter": "0"} {
		if err := os.WriteFile("/proc/sys/net/ipv4/"+name, []byte(value), 0); err != nil {
			return nil, err
		}
	}
	if err := quietIPv6(); err != nil {
		return nil, err
	}
	for i := range load.Devices {
		pod, far, err := t.join(inside, outside, fmt.Sprintf(podDevice, i), fmt.Sprintf(farPod, i))
		if err != nil {
			return nil, err
		}
		t.pods = append(t.pods, far.Attrs().Index)
		// All have the address that the packets are for.
		if err := inside.LinkSetHardwareAddr(pod, podMAC); err != nil {
			return nil, fmt.Errorf("set the address of a pod's device: %w", err)
		}
	}
	wire, farWire, err := t.join(inside, outside, uplink, farUplink)
	if err != nil {
		return nil, err
	}
	if err := addUplink(inside, wire, farWire); err != nil {
		return nil, err
	}
	if err := netns.Set(t.outside); err != nil {
		return nil, err
	}
	socket, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err := errors.Join(err, netns.Set(here)); err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(socket), "packets")
	defer file.Close()
	t.sender, err = startSender(errand{load, t.pods}, file)
	return t, err
}

// quietIPv6 leaves it out of the calling thread's network namespace: for some seconds after a device it would announce
// addresses, of which the agent takes note, and send packets of its own.
func quietIPv6() error {
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil // this kernel has none
}

// join makes two ends of a wire, up, the far one outside.
func (t *traffic) join(inside, outside *netlink.Handle, near, far string) (nearLink, farLink netlink.Link, err error) {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = near
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: far, PeerNamespace: netlink.NsFd(t.outside)}
	if err := inside.LinkAdd(veth); err != nil {
		return nil, nil, fmt.Errorf("add %s: %w", near, err)
	}
	if nearLink, err = inside.LinkByName(near); err != nil {
		return nil, nil, fmt.Errorf("find %s: %w", near, err)
	}
	if farLink, err = outside.LinkByName(far); err != nil {
		return nil, nil, fmt.Errorf("find %s: %w", far, err)
	}
	return nearLink, farLink, errors.Join(inside.LinkSetUp(nearLink), outside.LinkSetUp(farLink))
}

// addUplink gives the node an address and a way out, to a neighbour that never answers.
func addUplink(inside *netlink.Handle, device, far netlink.Link) error {
	address := &netlink.Addr{IPNet: &net.IPNet{IP: net.ParseIP(node1).To4(), Mask: net.CIDRMask(24, 32)}}
	if err := inside.AddrAdd(device, address); err != nil {
		return fmt.Errorf("add an address: %w", err)
	}
	gateway, index := net.ParseIP(node2).To4(), device.Attrs().Index
	err := inside.NeighAdd(&netlink.Neigh{LinkIndex: index, IP: gateway, HardwareAddr: far.Attrs().HardwareAddr,
		State: netlink.NUD_PERMANENT})
	if err != nil {
		return fmt.Errorf("add a neighbour: %w", err)
	}
	if err := inside.RouteAdd(&netlink.Route{LinkIndex: index, Gw: gateway}); err != nil {
		return fmt.Errorf("add the default route: %w", err)
	}
	return nil
}

// Close gives the outside up; what is in it goes with the processes.
func (t *traffic) Close() error {
	var errs []error
	if t.sender != nil {
		errs = append(errs, t.sender.Close())
	}
	if t.outside.IsOpen() {
		errs = append(errs, t.outside.Close())
	}
	return errors.Join(errs...)
}

// podSource is the address of a workload's pod.
func podSource(workload int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 244, byte(3 + workload/250), byte(1 + workload%250)})
}

// names are those of all pods.
func (t *traffic) names() names {
	n := names{netip.MustParseAddr(pod2): {Namespace: "default", Workload: "api", Pod: "api-0", Service: "default/api"}}
	for i := range t.load.Pods {
		workload := "web-" + strconv.Itoa(i)
		n[podSource(i)] = aggregate.Identity{Namespace: "default", Workload: workload, Pod: workload + "-0", Node: "node1"}
	}
	return n
}

// newFlowPacket is a datagram without a sender.
func newFlowPacket() []byte {
	target := netip.MustParseAddr(pod2)
	packet := ethernet(unix.ETH_P_IP, ipv4(netip.IPv4Unspecified(), target, unix.IPPROTO_UDP, nil, udp(0, 53, payload[:])))
	copy(packet, podMAC)
	return packet
}

// setFlow makes packet one of flow number i, of that pod; sequence tells it from the flow's others.
func setFlow(packet []byte, i, pod int, sequence uint64) {
	const ip, transport, data = 14, 14 + 20, 14 + 20 + 8
	copy(packet[ip+12:], podSource(pod).AsSlice())
	binary.BigEndian.PutUint16(packet[ip+10:], 0)
	binary.BigEndian.PutUint16(packet[ip+10:], checksum(packet[ip:transport]))
	binary.BigEndian.PutUint16(packet[transport:], uint16(10_000+i))
	binary.BigEndian.PutUint64(packet[data:], sequence)
}
