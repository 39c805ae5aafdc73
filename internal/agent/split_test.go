package agent

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/record"
)

// bulk sends over TCP from one pod to another, as much as goes, until ctx ends.
func bulk(ctx context.Context, from, to lab.Pod, address netip.Addr) error {
	var listener net.Listener
	if err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(address, 0).String())
		return err
	}); err != nil {
		return err
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	var conn net.Conn
	if err := from.Do(func() (err error) {
		conn, err = net.Dial("tcp", listener.Addr().String())
		return err
	}); err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for buffer := make([]byte, 1<<20); ; {
		if _, err := conn.Write(buffer); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

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
			address := api.Address
			if family == "IPv6" {
				address = api.Address6
			}
			_, usual := c.watch(time.Second)
			if _, err := c.lab.Fault(lab.Fault{Tool: lab.TBF, Rate: 4_000_000, Limit: 250_000}); err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			// The programs are told of the qdisc a moment after it came, and the queue has to fill.
			from := Monotonic() + time.Second
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
			go func() { ended <- bulk(ctx, cache, api, address) }()
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
			t.Logf("%d packets split; segments waited %.4f s (p50), small packets beside them %.4f s", splits, got, want)
			if math.Abs(got-want) > 0.1*want+noise || want < 0.02 {
				t.Errorf("segments are measured to wait %v s, small packets beside them wait %v s", got, want)
			}
			if queue.Untimed > 0 {
				t.Errorf("%d packets were not timed", queue.Untimed)
			}
		})
	}
}
