package agent

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/loader"
	"tracer/internal/record"
)

// TestSplit has a queue that splits large packets when it takes them in. Their first and last segments are timed, and
// wait as long as the small packets beside them, by these packets' own clock; and nothing is counted twice.
func TestSplit(t *testing.T) {
	t.Parallel()
	for _, family := range []string{"IPv4", "IPv6"} {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, lab.DefaultLoad(), consumeAsNeeded)
			c.consumeAttached(false, "the start")
			cache, _ := c.lab.Pod("cache")
			api, _ := c.lab.Pod(lab.API)
			address, device := api.Address, lab.OverlayDevice
			if family == "IPv6" {
				// Where the overlay is ipip, IPv6 goes without one; where it is vxlan, a tunnel's packets are split.
				address, device = api.Address6, lab.UplinkDevice
			}
			_, usual := c.watch(time.Second)
			if _, err := c.lab.Fault(lab.Fault{Device: device, Tool: lab.TBF, Rate: 4_000_000, Limit: 250_000}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			// The programs are told of the qdisc a moment after it came, and the queue has to fill.
			from := loader.Monotonic() + time.Second
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
			ended := make(chan error, 1)
			go func() { ended <- lab.Bulk(ctx, cache, api, netip.AddrPortFrom(address, 0)) }()
			time.Sleep(time.Second)
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
	c := newCluster(t, lab.DefaultLoad(), consumeAsNeeded)
	c.consumeAttached(false, "the start")
	cache, _ := c.lab.Pod("cache")
	api, _ := c.lab.Pod(lab.API)
	if err := c.lab.Node(1).Do(func() error { return setTSO("eth0", false) }); err != nil {
		t.Fatal(err)
	}
	if took := c.consumeAttached(true, "segmentation was switched off"); took > time.Second {
		t.Errorf("the hook came after %v", took)
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

// setTSO switches the segmentation of TCP by a device of the calling thread's network namespace, as `ethtool -K` does.
func setTSO(device string, on bool) error {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	value := struct{ command, on uint32 }{command: unix.ETHTOOL_STSO}
	if on {
		value.on = 1
	}
	request := struct {
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:], device)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return fmt.Errorf("ethtool -K %s tso: %w", device, errno)
	}
	return nil
}
