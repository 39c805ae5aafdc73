package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestSplit has a queue that splits large packets when it takes them in. Their first and last segments are timed, and
// wait as long as the small packets beside them, by these packets' own clock; and nothing is counted twice.
func TestSplit(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, lab.DefaultLoad())
			cache, _ := c.lab.Pod("cache")
			api, _ := c.lab.Pod(lab.API)
			address, device := api.Address, lab.OverlayDevice
			if family == "IPv6" {
				// Where the overlay is ipip, IPv6 goes without one; where it is vxlan, a tunnel's packets are split.
				address, device = api.Address6, lab.UplinkDevice
			}
			_, usual := c.watch(time.Second)
			injected, err := c.lab.Fault(lab.Fault{Device: device, Tool: lab.TBF, Rate: 4_000_000, Limit: 250_000})
			if err != nil {
				t.Fatal(err)
			}
			c.learnQueues()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			ended := make(chan error, 1)
			go func() { ended <- lab.Bulk(ctx, cache, api, netip.AddrPortFrom(address, 0)) }()
			c.eventually(20*time.Second, "bulk has filled the queue", func() (bool, string) {
				sent := rootOf(c.now(0).Devices, injected.Device).Bytes
				return sent > 2*injected.Limit, fmt.Sprintf("%d bytes of it have come out", sent)
			})
			from := loader.Monotonic()
			records, lost := c.agents[0].Subscribe(ctx, func(r *record.Record) bool {
				return r.Time > from && r.First.Destination.Addr() == address && (r.SplitAt > 0 || r.Kind == record.Split)
			})
			var splits, segments, untimed int
			counted := make(chan struct{})
			go func() {
				defer close(counted)
				for r := range records {
					switch {
					case r.Kind == record.Split && r.SplitAt == 0:
						untimed++
					case r.Kind == record.Split:
						splits++
					case r.Kind == record.Finished:
						segments++
					}
				}
			}()
			windows, seen := c.watch(4 * time.Second)
			stop()
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			<-counted
			// The last ones still wait.
			if splits < 50 || untimed > 0 || segments < 2*splits*9/10 || lost() > 0 {
				t.Errorf("%d packets were split, %d more without being timed, %d of their segments came out; %d records lost",
					splits, untimed, segments, lost())
			}
			queue := stages(windows[0], "cache", lab.API)[journey.Queue]
			got, want := queue.Delay.Quantile(0.5), seen.Request.Delay.P50-usual.Request.Delay.P50
			noise := usual.Request.Delay.P99 - usual.Request.Delay.P50
			// The application may wait for a CPU besides, so by its own clock a packet may have waited for longer.
			small := stages(windows[0], lab.Web, lab.API)[journey.Queue]
			beside := small.Delay.Quantile(0.5)
			t.Logf("%d packets split; segments waited %.4f s (p50), small packets beside them %.4f s, by the application's clock %.4f s",
				splits, got, beside, want)
			// Bulk is sent when an acknowledgement comes and small packets at any time, so the queue that they meet is not quite
			// the same: 18 % apart was seen. A segment timed from its split on would have waited for next to nothing.
			if math.Abs(got-beside) > 0.3*beside+noise || got > 1.3*want+noise || want < 0.02 {
				t.Errorf("segments are measured to wait %v s, small packets beside them %v s, by the application's clock %v s", got, beside, want)
			}
			if queue.Untimed > 0 {
				t.Errorf("%d packets were not timed", queue.Untimed)
			}
		})
	}
}

// TestSoftwareSegmentation sends large packets through a tunnel over a card that cannot segment them: the kernel does
// it behind the card's queue, where the packet's journey ends.
func TestSoftwareSegmentation(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	if err := c.lab.Node(1).Do(func() error { return setFeatures(uplink, false, tso...) }); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	records, _ := c.agents[0].Subscribe(ctx, func(r *record.Record) bool {
		return r.Kind == record.Split && r.First.Destination.Addr() == api.Address
	})
	ended := make(chan error, 1)
	go func() { ended <- lab.Bulk(ctx, cache, api, netip.AddrPortFrom(api.Address, 0)) }()
	for range 100 {
		select {
		case r := <-records:
			var hooks []string
			for _, h := range r.Passed() {
				hooks = append(hooks, h.Hook.String())
			}
			if want := []string{"ingress", "egress", "xmit", "egress", "free"}; !slices.Equal(hooks, want) {
				t.Fatalf("hooks %v, want %v", hooks, want)
			}
			if r.Segments < 2 || r.SplitAt != 0 || !r.Encapsulated {
				t.Errorf("%d segments, split at %d, encapsulated %v", r.Segments, r.SplitAt, r.Encapsulated)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("no packet was split")
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if counters, err := c.agents[0].loader.Counters(); err != nil || lostSight(counters) > unseen(counters.Started) {
		t.Errorf("%+v, %v", counters, err)
	}
}

// TestSoftwareSegmentationOfUDP does the same for UDP, the payload of whose large packets no tracepoint can read: all are seen all the same.
func TestSoftwareSegmentationOfUDP(t *testing.T) {
	t.Parallel()
	c := newLargeCluster(t)
	if err := c.lab.Node(1).Do(func() error { return setFeatures(uplink, false, udpSegmentation) }); err != nil {
		t.Fatal(err)
	}
	from := c.now(0)
	large, counters := c.followLarge()
	r := diagnose.Diagnose("node1", from, c.now(0))
	c.wantAllSeen(&r)
	if large != (counters.Split >= 100) {
		t.Errorf("large packets: %v, and %d were split", large, counters.Split)
	}
}

// TestSplitOfUDP has a queue split them when it takes them in: none seems to wait there for longer than the queue is.
func TestSplitOfUDP(t *testing.T) {
	t.Parallel()
	c := newLargeCluster(t)
	if _, err := c.lab.Fault(lab.Fault{Tool: lab.TBF, Rate: 60_000_000, Limit: 250_000}); err != nil { // full it is 33 ms long
		t.Fatal(err)
	}
	c.learnQueues()
	large, counters := c.followLarge()
	if large != (counters.Split >= 100) {
		t.Errorf("large packets: %v, and %d were split", large, counters.Split)
	}
	for _, h := range c.now(0).Counts.InFlight {
		if h.Device == c.lab.OverlayDevice() && h.Stage == journey.Queue && h.Oldest > 0.5 {
			t.Errorf("%v packets seem to wait in %s, the oldest for %.1f s", h.Packets, h.Device, h.Oldest)
		}
	}
}

// TestDropsOfLargeUDP has a queue drop them, as it is too short for any of them: each drop is told with the packet's way to there, and there
// are as many as the queue says.
func TestDropsOfLargeUDP(t *testing.T) {
	t.Parallel()
	c := newLargeCluster(t)
	overlay := c.lab.OverlayDevice()
	cache, _ := c.lab.Pod("cache")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var known, unknown atomic.Uint64
	c.agents[0].Subscribe(ctx, func(r *record.Record) bool { // which are counted where they are read: some thousands come at once
		if r.Kind != record.Dropped || r.First.Protocol != unix.IPPROTO_UDP || r.First.Source.Addr() != cache.Address {
			return false
		}
		var hooks []string
		for _, h := range r.Passed() {
			hooks = append(hooks, h.Hook.String())
		}
		if slices.Equal(hooks, []string{"ingress", "egress", "free"}) {
			known.Add(1)
		} else {
			unknown.Add(1)
		}
		return false
	})
	c.run(c.lab.Node(1).Netns, "", "tc", "qdisc", "add", "dev", overlay, "root", "bfifo", "limit", "1000")
	c.learnQueues()
	c.followLarge()
	c.eventually(10*time.Second, "drops as the qdisc counts them", func() (bool, string) {
		m := c.now(0)
		var counted uint64
		for _, d := range m.Counts.Drops {
			if d.Device == overlay && d.Stage == journey.Queue {
				counted += d.Packets
			}
		}
		qdisc := rootOf(m.Devices, overlay).Drops
		missed := max(counted, qdisc, known.Load()) - min(counted, qdisc, known.Load())
		text := fmt.Sprintf("%d came from a pod, %d from nowhere; %d counted, the qdisc says %d", known.Load(), unknown.Load(), counted, qdisc)
		return qdisc >= 100 && missed+unknown.Load() <= unseen(qdisc), text
	})
}

// newLargeCluster is one whose agents follow each packet.
func newLargeCluster(t *testing.T) *cluster {
	t.Helper()
	return newLimitedCluster(t, load.Config{Rate: 100, Size: 90}, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3})
}

// learnQueues has the first node's agent learn at once of the queues that there are now. By itself it does so within some 100 ms on a CPU that
// is free, and until then counts what they drop, but in no stage where the kernel gives no reason for it.
func (c *cluster) learnQueues() {
	c.Helper()
	if _, err := c.agents[0].watcher.Refresh(); err != nil {
		c.Fatal(err)
	}
	if err := c.agents[0].setDevices(); err != nil {
		c.Fatal(err)
	}
}

// followLarge has a pod of the first node send large packets of UDP to another node for three seconds, of which sight must not be lost. It
// tells whether the node gets large ones, and what it has counted.
func (c *cluster) followLarge() (large bool, counters loader.Counters) {
	c.Helper()
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	ctx, stop := context.WithTimeout(c.Context(), 3*time.Second)
	defer stop()
	before := c.receivedFrom(cache)
	if err := udpBulk(ctx, cache, api); err != nil {
		c.Fatal(err)
	}
	large = areLarge(before, c.receivedFrom(cache))
	counters, err := c.agents[0].loader.Counters()
	if err != nil {
		c.Fatal(err)
	}
	if lost := lostSight(counters); lost > unseen(counters.Started) {
		c.Errorf("sight of %d packets was lost: %+v", lost, counters)
	}
	return large, counters
}

// receivedFrom is what the pod's device on the first node has counted of what came out of the pod.
func (c *cluster) receivedFrom(p lab.Pod) netdev.Traffic {
	c.Helper()
	for _, d := range c.agents[0].Devices() {
		if d.Name == p.Device {
			return d.Traffic
		}
	}
	c.Fatalf("no device %s", p.Device)
	return netdev.Traffic{}
}

// areLarge tells whether packets that were counted between two times are large ones. Before 5.12 the kernel splits UDP's in front of a pod's
// veth.
func areLarge(from, to netdev.Traffic) bool {
	return to.RxBytes-from.RxBytes > 5000*(to.RxPackets-from.RxPackets)
}

// udpBulk sends UDP's large packets from one pod to another, 100 a second of 40 datagrams, until ctx ends.
func udpBulk(ctx context.Context, from, to lab.Pod) error {
	var receiver, sender *net.UDPConn
	err := to.Do(func() (err error) { receiver, err = net.ListenUDP("udp", nil); return err })
	if err != nil {
		return err
	}
	defer receiver.Close()
	go func() {
		for buffer := make([]byte, 1<<16); ; {
			if _, err := receiver.Read(buffer); err != nil {
				return
			}
		}
	}()
	at := netip.AddrPortFrom(to.Address, receiver.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	err = from.Do(func() (err error) { sender, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(at)); return err })
	if err != nil {
		return err
	}
	defer sender.Close()
	const datagram, datagrams = 1200, 40
	raw, err := sender.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_SEGMENT, datagram) })
	if err := errors.Join(err, set); err != nil {
		return err
	}
	buffer := make([]byte, datagrams*datagram)
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if ctx.Err() != nil {
			return nil
		}
		if _, err := rand.Read(buffer); err != nil { // each datagram another: they are told apart by what is in them
			return err
		}
		if _, err := sender.Write(buffer); err != nil {
			return err
		}
	}
}

const udpSegmentation = "tx-udp-segmentation"

// tso is what segments TCP's packets.
var tso = []string{"tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation", "tx-tcp-mangleid-segmentation"}

// setFeatures switches features of a device of the calling thread's network namespace, as `ethtool -K` does.
func setFeatures(device string, on bool, names ...string) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	ask := func(data unsafe.Pointer) error {
		request := struct {
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: data}
		copy(request.name[:], device)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return fmt.Errorf("features of %s: %w", device, errno)
		}
		return nil
	}
	const features, nameBytes = 4, 32 // ETH_SS_FEATURES, ETH_GSTRING_LEN
	known := struct {                 // struct ethtool_gstrings
		command, set, length uint32
		names                [2 * 64][nameBytes]byte
	}{command: unix.ETHTOOL_GSTRINGS, set: features}
	if err := ask(unsafe.Pointer(&known)); err != nil {
		return err
	}
	change := struct { // struct ethtool_sfeatures
		command, size uint32
		block         [4]struct{ valid, requested uint32 }
	}{command: unix.ETHTOOL_SFEATURES, size: (known.length + 31) / 32}
	for i := range known.names[:known.length] {
		if slices.Contains(names, unix.ByteSliceToString(known.names[i][:])) {
			b := &change.block[i/32]
			b.valid |= 1 << (i % 32)
			if on {
				b.requested |= 1 << (i % 32)
			}
		}
	}
	return ask(unsafe.Pointer(&change))
}
