package wireguard

import (
	"encoding/binary"
	"net/netip"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/lab"
)

// TestParsePeers reads a peer that continues in a second message, and one without anything.
func TestParsePeers(t *testing.T) {
	t.Parallel()
	allowed := func(address string, bits uint8) []byte {
		one := nl.NewRtAttr(unix.NLA_F_NESTED, nil)
		one.AddRtAttr(1, nl.Uint16Attr(unix.AF_INET))
		one.AddRtAttr(allowedAddress, netip.MustParseAddr(address).AsSlice())
		one.AddRtAttr(allowedBits, nl.Uint8Attr(bits))
		return one.Serialize()
	}
	message := func(peers ...*nl.RtAttr) []byte {
		list := nl.NewRtAttr(devicePeers|unix.NLA_F_NESTED, nil)
		for _, p := range peers {
			list.AddChild(p)
		}
		private := nl.NewRtAttr(3, make([]byte, 32))
		return slices.Concat(make([]byte, 4), private.Serialize(), list.Serialize())
	}
	peer := func(key byte) *nl.RtAttr {
		p := nl.NewRtAttr(unix.NLA_F_NESTED, nil)
		p.AddRtAttr(peerPublicKey, []byte{key, 1, 2})
		return p
	}
	first, rest, idle := peer('a'), peer('a'), peer('b')
	socket := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(socket, unix.AF_INET)
	binary.BigEndian.PutUint16(socket[2:], 51820)
	copy(socket[4:], []byte{192, 0, 2, 7})
	first.AddRtAttr(peerEndpoint, socket)
	first.AddRtAttr(peerHandshake, binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, 1700000000), 5))
	first.AddRtAttr(peerTxBytes, nl.Uint64Attr(148))
	first.AddRtAttr(peerAllowed|unix.NLA_F_NESTED, allowed("10.244.2.0", 24))
	rest.AddRtAttr(peerAllowed|unix.NLA_F_NESTED, allowed("10.244.3.0", 24))
	idle.AddRtAttr(peerHandshake, make([]byte, 16))
	got, err := parsePeers("wg0", [][]byte{message(first), message(rest, idle)})
	if err != nil || len(got) != 2 {
		t.Fatalf("%+v, %v", got, err)
	}
	a, b := got[0], got[1]
	if a.Endpoint.String() != "192.0.2.7:51820" || !a.Handshake.Equal(time.Unix(1700000000, 5)) || a.TxBytes != 148 || a.Device != "wg0" {
		t.Errorf("%+v", a)
	}
	if !a.Has(netip.MustParseAddr("10.244.3.9")) || !a.Has(netip.MustParseAddr("10.244.2.9")) || a.Has(netip.MustParseAddr("10.244.4.9")) {
		t.Errorf("%v", a.Allowed)
	}
	if b.Endpoint.IsValid() || !b.Handshake.IsZero() || len(b.Allowed) > 0 {
		t.Errorf("%+v", b)
	}
}

// TestPeers asks the kernel about a device that the lab sets up. Kernels without WireGuard say that there is none.
func TestPeers(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test
	_ = exec.Command("/sbin/modprobe", "-q", familyName).Run()
	namespace, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	defer namespace.Close()
	if err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "wg0"}}); err != nil {
		t.Logf("no wireguard here: %v", err)
		return
	}
	want := lab.WireGuardPeer{
		Name: "there", Endpoint: netip.MustParseAddrPort("192.0.2.7:51820"), Allowed: []netip.Prefix{netip.MustParsePrefix("10.244.2.0/24")},
	}
	if err := lab.SetWireGuard("wg0", "here", 51820, []lab.WireGuardPeer{want}); err != nil {
		t.Fatal(err)
	}
	r, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	got, err := r.Peers("wg0")
	if err != nil || len(got) != 1 || got[0].Endpoint != want.Endpoint || !slices.Equal(got[0].Allowed, want.Allowed) || !got[0].Handshake.IsZero() {
		t.Errorf("%+v, %v", got, err)
	}
	if none, err := r.Peers("wg1"); err != nil || none != nil {
		t.Errorf("of a device that is not there: %+v, %v", none, err)
	}
}
