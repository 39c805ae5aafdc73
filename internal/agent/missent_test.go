package agent

import (
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestMissent takes frames for another MAC for lost where the packet was for this node or the pod all the same, and only there.
func TestMissent(t *testing.T) {
	t.Parallel()
	runtime.LockOSThread() // for good: the thread ends in this namespace
	pod, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pod.Close() })
	run := func(commands ...string) {
		t.Helper()
		for _, command := range commands {
			if out, err := exec.Command("bash", "-c", command).CombinedOutput(); err != nil {
				t.Fatalf("%s: %v: %s", command, err, out)
			}
		}
	}
	run("ip link add eth0 index 40 type veth peer name cali1 index 44", "ip addr add 10.1.0.7/32 dev eth0", "ip -6 addr add fd00::7/128 dev eth0 nodad", "ip link set eth0 up")
	node, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { node.Close() })
	if err := netns.Set(pod); err != nil {
		t.Fatal(err)
	}
	cali, err := netlink.LinkByName("cali1")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(cali, int(node)); err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(node); err != nil {
		t.Fatal(err)
	}
	run("ip link set cali1 up", "ip link set lo up", "ip route add 10.1.0.7 dev cali1", "ip -6 route add fd00::7 dev cali1",
		"ip link add uplink index 42 type veth peer name wire", "ip link set uplink up", "ip addr add 172.30.0.11/24 dev uplink",
		"ip link add vx index 43 type vxlan id 9 dstport 4789 local 172.30.0.11", "ip link set vx up", "ip route add 10.2.0.0/24 dev vx",
		"ip link add cni0 index 45 type bridge", "ip link set cni0 up")
	var l routeLookups
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	m := newMissent()
	go m.answer(t.Context(), l.tables)
	for _, test := range []struct {
		about   string
		to      string
		hook    record.Hook
		ifindex int
		want    bool
	}{
		{"in the pod that has the address", "10.1.0.7", record.Xmit, 44, true},
		{"likewise, IPv6", "fd00::7", record.Xmit, 44, true},
		{"flooded to a pod", "10.1.0.8", record.Xmit, 44, false},
		{"from a pod, on a promiscuous bridge", "192.0.2.1", record.Ingress, 44, false},
		{"from a pod to its gateway", "192.0.2.1", record.Ingress, 44, true},
		{"from what is behind a pod", "192.0.2.2", record.Ingress, 44, false},
		{"on a promiscuous bridge", "10.1.0.7", record.Ingress, 45, false},
		{"at the overlay, to a pod here", "10.1.0.7", record.Ingress, 43, true},
		{"at the overlay, to the node", "172.30.0.11", record.Ingress, 43, true},
		{"at the overlay, flooded", "10.2.0.9", record.Ingress, 43, false},
		{"at the uplink, to a pod here", "10.1.0.7", record.Ingress, 42, true},
		{"at the uplink, to an address that others have too", "172.30.0.11", record.Ingress, 42, false},
		{"at the uplink, somebody else's", "172.30.0.12", record.Ingress, 42, false},
		{"where there is no route", "192.0.2.1", record.Ingress, 43, false},
	} {
		batch := []record.Record{{Kind: record.Dropped, Reason: record.OtherHost, Attributed: true, Len: 2, Time: time.Hour}}
		batch[0].Hops = [record.MaxHops]record.Hop{{Hook: test.hook, Ifindex: test.ifindex}, {Hook: record.Free, Ifindex: test.ifindex}}
		batch[0].Last.Destination = netip.AddrPortFrom(netip.MustParseAddr(test.to), 80)
		batch[0].Last.Source = netip.MustParseAddrPort("10.1.0.7:80")
		if test.to == "192.0.2.2" {
			batch[0].Last.Source = netip.MustParseAddrPort("10.9.0.7:80")
		}
		bridge := netdev.Device{Index: 45, Role: netdev.RoleBridge}
		if strings.Contains(test.about, "bridge") {
			bridge.Lower = []int{44}
		}
		m.setDevices([]netdev.Device{
			{Index: 42, Role: netdev.RoleUplink}, {Index: 43, Role: netdev.RoleOverlay}, {Index: 44, Role: netdev.RolePod}, bridge,
		})
		if answered := m.markKnown(batch); answered != nil {
			select {
			case <-answered:
			case <-time.After(20 * time.Second): // others may ask the kernel too
				t.Fatalf("%s: the kernel does not say", test.about)
			}
		}
		if m.mark(batch); batch[0].Missent != test.want {
			t.Errorf("%s: lost: %v", test.about, batch[0].Missent)
		}
	}
}

// slowTables answer once they are let.
type slowTables struct {
	let   chan struct{}
	asked atomic.Int32
}

func (s *slowTables) PeerHas(int, netip.Addr) (bool, error) {
	s.asked.Add(1)
	<-s.let
	return true, nil
}

func (s *slowTables) LeadsTo(netip.Addr) (int, error) { return 0, nil }

// TestMissentSlow does not keep records waiting for the kernel, goes by its answer once that is there, and does not forget it while the
// device is what it was.
func TestMissentSlow(t *testing.T) {
	t.Parallel()
	m := newMissent()
	devices := []netdev.Device{{Index: 44, Role: netdev.RolePod}}
	m.setDevices(devices)
	tables := &slowTables{let: make(chan struct{}, 1)}
	go m.answer(t.Context(), tables)
	mark := func(at time.Duration) bool {
		batch := []record.Record{{Kind: record.Dropped, Reason: record.OtherHost, Attributed: true, Len: 2, Time: at}}
		batch[0].Hops = [record.MaxHops]record.Hop{{Hook: record.Xmit, Ifindex: 44}, {Hook: record.Free, Ifindex: 44}}
		batch[0].Last.Destination = netip.MustParseAddrPort("10.1.0.7:80")
		m.mark(batch)
		return batch[0].Missent
	}
	began := time.Now()
	for range 1000 { // by the waits of 100 it would be stalled
		if mark(time.Hour) {
			t.Fatal("it is known already")
		}
	}
	if took := time.Since(began); took > 100*missentWait {
		t.Errorf("records waited for %v", took)
	}
	tables.let <- struct{}{}
	for !mark(time.Hour) {
		time.Sleep(time.Millisecond)
	}
	m.setDevices(append(devices, netdev.Device{Index: 45, Role: netdev.RolePod}))
	if !mark(time.Hour+missentFor) || tables.asked.Load() != 1 {
		t.Errorf("forgotten: asked %d times", tables.asked.Load())
	}
	if !mark(time.Hour + 2*missentFor) {
		t.Error("what was known last does not stand while the kernel is asked again")
	}
	for tables.asked.Load() != 2 {
		time.Sleep(time.Millisecond)
	}
	m.setDevices(nil)
	m.setDevices(devices)
	if mark(time.Hour + 2*missentFor) {
		t.Error("it is kept of a device that has gone")
	}
	close(tables.let)
}

// TestMissentBounded asks about no more addresses than can be known, and about others once those are old.
func TestMissentBounded(t *testing.T) {
	t.Parallel()
	m := newMissent()
	m.setDevices([]netdev.Device{{Index: 44, Role: netdev.RolePod}})
	tables := &slowTables{let: make(chan struct{})}
	close(tables.let)
	go m.answer(t.Context(), tables)
	mark := func(n int, at time.Duration) bool {
		batch := []record.Record{{Kind: record.Dropped, Reason: record.OtherHost, Attributed: true, Len: 2, Time: at}}
		batch[0].Hops = [record.MaxHops]record.Hop{{Hook: record.Xmit, Ifindex: 44}, {Hook: record.Free, Ifindex: 44}}
		batch[0].Last.Destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 80)
		for ; m.markKnown(batch) != nil; time.Sleep(time.Millisecond) {
		}
		return batch[0].Missent
	}
	for n := range 2 * maxMissent {
		for wait := n < maxMissent; !mark(n, time.Hour) && wait; time.Sleep(100 * time.Microsecond) {
		}
	}
	if n := tables.asked.Load(); n != maxMissent {
		t.Errorf("asked about %d addresses", n)
	}
	for !mark(3*maxMissent, time.Hour+2*missentFor) {
		time.Sleep(time.Millisecond)
	}
}
