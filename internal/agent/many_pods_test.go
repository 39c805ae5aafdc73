package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"tracer/internal/lab"
	"tracer/internal/record"
)

// TestManyPods starts as many pods at once as a node may have. Each sends as soon as it can: all of it arrives. Once all have their hooks,
// all that they send is seen.
func TestManyPods(t *testing.T) {
	t.Parallel()
	const pods, packets = 110, 3
	p := newPairOfNodes(t)
	p.ip(p.near, "neigh replace 10.9.0.2 lladdr 02:00:00:00:09:02 dev eth0")
	arrived := p.countArrivals(t)
	a, _ := p.trace()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	seen, missed := a.Subscribe(ctx, func(r *record.Record) bool { return r.Kind == record.Finished && r.First.Destination == manyPodsTo })

	var names []string
	made, failed := make([]time.Time, pods), make([]error, pods)
	var started sync.WaitGroup
	namespace := func(i int) lab.Namespace { return lab.Namespace(fmt.Sprintf("%s%d", p.pod, i)) }
	for i := range pods {
		names = append(names, fmt.Sprintf("cali%011x", i))
		if err := addNamespace(namespace(i)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = netns.DeleteNamed(string(namespace(i))) })
	}
	for i := range pods {
		started.Go(func() {
			made[i] = time.Now()
			if failed[i] = p.addPod(namespace(i), names[i], netip.AddrFrom4([4]byte{10, 9, 2, byte(i + 1)})); failed[i] == nil {
				failed[i] = namespace(i).Do(func() error { return sendSome(packets, "early") })
			}
		})
	}
	hooked := p.hooked(a, 3*time.Minute, names...)
	started.Wait()
	if err := errors.Join(failed...); err != nil {
		t.Fatal(err)
	}
	var delays []time.Duration
	for i, name := range names {
		delays = append(delays, hooked[name].Sub(made[i]))
	}
	slices.Sort(delays)
	t.Logf("%d pods were started within %v; from the making of a device to its hooks it took %v (median), %v (most)", pods,
		slices.MaxFunc(made, time.Time.Compare).Sub(slices.MinFunc(made, time.Time.Compare)).Round(time.Millisecond),
		delays[pods/2].Round(time.Millisecond), delays[pods-1].Round(time.Millisecond))

	for len(seen) > 0 {
		<-seen
	}
	for i := range pods {
		if err := namespace(i).Do(func() error { return sendSome(packets, "late") }); err != nil {
			t.Fatal(err)
		}
	}
	for end, want := time.After(time.Minute), map[string]int{"early": pods * packets, "late": pods * packets}; ; time.Sleep(10 * time.Millisecond) {
		got := arrived()
		if maps.Equal(got, want) && len(seen) >= pods*packets {
			break
		}
		select {
		case <-end:
			t.Fatalf("arrived %v of %v, %d of the latter are seen, and %d were missed by the test", got, want, len(seen), missed())
		default:
		}
	}
}

var manyPodsTo = netip.MustParseAddrPort("10.9.0.2:9")

// sendSome sends datagrams, slowly.
func sendSome(packets int, text string) error {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(manyPodsTo))
	if err != nil {
		return err
	}
	defer conn.Close()
	for range packets {
		if _, err := conn.Write([]byte(text)); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// countArrivals counts what comes to the far node, by text.
func (p *pairOfNodes) countArrivals(t *testing.T) func() map[string]int {
	var conn *net.UDPConn
	err := p.far.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(manyPodsTo))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	var mu sync.Mutex
	counts := map[string]int{}
	go func() {
		for buffer := make([]byte, 64); ; {
			n, err := conn.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			counts[string(buffer[:n])]++
			mu.Unlock()
		}
	}()
	return func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(counts)
	}
}

// addPod makes a pod as CNI plugins do: from inside, its other end moved to the node and then set up there.
func (p *pairOfNodes) addPod(ns lab.Namespace, device string, address netip.Addr) error {
	err := ns.Do(func() error {
		node, err := netns.GetFromPath(p.near.Path())
		if err != nil {
			return err
		}
		defer node.Close()
		attrs := netlink.NewLinkAttrs()
		attrs.Name = "eth0"
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: device, PeerNamespace: netlink.NsFd(node)})
	})
	if err != nil {
		return err
	}
	if err := p.ips(p.near, "addr add 10.9.1.1/32 dev "+device, "link set "+device+" up", "route add "+address.String()+" dev "+device); err != nil {
		return err
	}
	return p.ips(ns, "addr add "+address.String()+"/32 dev eth0", "link set eth0 up", "route add default via 10.9.1.1 dev eth0 onlink")
}
