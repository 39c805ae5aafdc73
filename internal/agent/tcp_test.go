package agent

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
	"tracer/test/steady"
)

// judged waits until a node's verdict over the last seconds is led by the cause, and returns that finding.
func (c *cluster) judged(node int, cause diagnose.Cause) diagnose.Finding {
	c.Helper()
	var found diagnose.Finding
	from := c.now(node)
	c.eventually(60*time.Second, fmt.Sprintf("node%d names %s", node+1, cause), func() (bool, string) {
		time.Sleep(time.Second)
		to := c.now(node)
		report := diagnose.Diagnose("node", from, to)
		if to.Taken.Sub(from.Taken) > 8*time.Second {
			from = to
		}
		if len(report.Findings) == 0 || report.Findings[0].Cause != cause || report.Findings[0].Severity != diagnose.Critical {
			return false, report.Summary
		}
		found = report.Findings[0]
		return true, ""
	})
	c.Logf("node%d: %s, confidence %.2f: %s", node+1, found.Cause, found.Confidence, strings.Join(found.Evidence, "; "))
	return found
}

// healthy fails unless a node finds nothing in a window on a steady machine: TCP sends again what one that stands still answers late.
func (c *cluster) healthy(node int, d time.Duration) {
	c.Helper()
	steady.Repeat(c, func() string {
		from := c.now(node)
		time.Sleep(d)
		report := diagnose.Diagnose("node", from, c.now(node))
		if len(report.Findings) == 0 {
			return ""
		}
		return fmt.Sprintf("node%d, with nothing wrong: %s; %q", node+1, report.Summary, report.Findings[0].Evidence)
	})
}

// connections is what web's connections to api say.
func connections(s *aggregate.Snapshot) aggregate.TCP {
	for _, p := range s.Pairs {
		if p.SrcWorkload == lab.Web && p.DstWorkload == lab.API && p.Direction == journey.Out && p.TCP != nil {
			return *p.TCP
		}
	}
	return aggregate.TCP{}
}

// TestRemoteDelay slows the other node down, and compares what TCP's round trips say here with the application's clock.
func TestRemoteDelay(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 20, Size: 90, TCP: 100 * time.Millisecond})
	c.healthy(0, 3*time.Second)
	injected, err := c.lab.Fault(lab.Fault{Node: "node2", Delay: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	c.settled(0.9*injected.Expected.Delay, func(r lab.Report) float64 { return r.TCP.P50 })
	windows, seen := c.watch(6 * time.Second)
	tcp := connections(windows[0])
	got, want := tcp.RTT.Quantile(0.5), seen.TCP.P50
	t.Logf("round trips took %.4f s (p50 of %d), calls %.4f s by the application's clock", got, tcp.RTT.Count(), want)
	if got < 0.8*want || got > 1.2*want {
		t.Errorf("round trips are measured to take %v s, calls take %v s by the application's clock", got, want)
	}
	// Connections are opened by round trips of their own, which are answered at once: by those to the other node, and by
	// those from there.
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	for _, opened := range []struct{ from, to lab.Pod }{{web, api}, {api, web}} {
		from := c.now(0)
		serve(c.T, opened.to, openPort, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
		c.open(opened.from, opened.to)
		c.eventually(20*time.Second, "round trips that open connections to "+opened.to.Name, func() (bool, string) {
			opening := connections(c.now(0).Counts.Since(from.Counts)).HandshakeRTT
			text := fmt.Sprintf("%d, of %.4f s (p50)", opening.Count(), opening.Quantile(0.5))
			if opening.Count() >= 3 && opening.Quantile(0.5) <= want/2 { // the queue was short just then
				from = c.now(0)
				c.open(opened.from, opened.to)
				return false, text
			}
			return opening.Count() >= 3, text
		})
	}
	f := c.judged(0, diagnose.RemoteDelay)
	if f.Stage != "" || f.Device != "" || f.Pairs[0].Dst != "default/"+lab.API {
		t.Errorf("at %q %q of %v, want no place on this node, of %s", f.Stage, f.Device, f.Pairs, lab.API)
	}
	// There it is no riddle.
	if f := c.judged(1, diagnose.QdiscDelay); f.Device != c.lab.OverlayDevice() {
		t.Errorf("the other node finds it at %s", f.Device)
	}
}

// openPort is where open's connections lead.
const openPort = 7001

// open opens five connections in turn, and asks once on each.
func (c *cluster) open(from, to lab.Pod) {
	c.Helper()
	for opened, tries := 0, 20; opened < 5 && tries > 0; tries-- {
		conn, err := dial(c.T, from, to, openPort)
		if err != nil {
			continue // its SYN, or the answer, was among those that the full queue drops
		}
		if _, err := fmt.Fprint(conn, "?"); err == nil {
			_, _ = io.ReadFull(conn, make([]byte, 1))
		}
		conn.Close()
		opened++
	}
}

// TestCookies has a pod accept all connections by SYN cookies, whose timestamps are no clock's: no handshake's round trip is taken. Without
// cookies it is.
func TestCookies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 20, Size: 90})
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	serve(c.T, web, openPort, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	for _, test := range []struct {
		cookies string
		taken   bool
	}{{"2", false}, {"1", true}} {
		if err := web.Do(func() error { return os.WriteFile("/proc/sys/net/ipv4/tcp_syncookies", []byte(test.cookies), 0) }); err != nil {
			t.Fatal(err)
		}
		from := c.now(0)
		c.open(api, web)
		c.open(api, web)
		var seen aggregate.TCP
		c.eventually(20*time.Second, "handshakes of ten connections", func() (bool, string) {
			seen = connections(c.now(0).Counts.Since(from.Counts))
			return seen.Delivered >= 10, fmt.Sprintf("%d segments acknowledged", seen.Delivered)
		})
		if n := seen.HandshakeRTT.Count(); (n > 0) != test.taken {
			t.Errorf("tcp_syncookies %s: %d round trips of handshakes, of %v s (p50)", test.cookies, n, seen.HandshakeRTT.Quantile(0.5))
		}
	}
}

// TestRemoteLoss loses packets between the nodes.
func TestRemoteLoss(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 10, Size: 90, TCP: 20 * time.Millisecond})
	c.healthy(0, 3*time.Second)
	wire := lab.Namespace(strings.TrimSuffix(string(c.lab.Node(1).Netns), "node1") + "wire")
	rules := "add table bridge t; add chain bridge t f { type filter hook forward priority 0; }; add rule bridge t f numgen random mod 10 == 0 drop"
	if out, err := exec.Command("ip", "netns", "exec", string(wire), "nft", rules).CombinedOutput(); err != nil {
		t.Fatalf("lose packets in %s: %v: %s", wire, err, out)
	}
	f := c.judged(0, diagnose.RemoteLoss)
	if f.Kind != diagnose.KindRetransmit || f.Stage != "" || f.Device != "" || *f.Drops.Ratio < 0.02 || *f.Drops.Ratio > 0.4 {
		t.Errorf("%s at %q %q, %v of the segments", f.Kind, f.Stage, f.Device, *f.Drops.Ratio)
	}
}

// serve listens in a pod and lets handle serve each connection until the test ends.
func serve(t *testing.T, pod lab.Pod, port int, handle func(net.Conn)) {
	t.Helper()
	var listener net.Listener
	err := pod.Do(func() (err error) {
		listener, err = new(net.ListenConfig).Listen(t.Context(), "tcp", fmt.Sprintf(":%d", port))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			context.AfterFunc(t.Context(), func() { conn.Close() })
			go handle(conn)
		}
	}()
}

func dial(t *testing.T, from, to lab.Pod, port int) (net.Conn, error) {
	t.Helper()
	conn, err := dialFor(from, to, port, 5*time.Second)
	if err == nil {
		context.AfterFunc(t.Context(), func() { conn.Close() })
	}
	return conn, err
}

func dialFor(from, to lab.Pod, port int, patience time.Duration) (conn net.Conn, err error) {
	err = from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", to.Address, port), patience)
		return err
	})
	return conn, err
}

// TestReceivers has applications that are slow, and the network is not.
func TestReceivers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 5, Size: 90})
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	const bulk, thinks, slow, nobody = 7001, 7002, 7003, 7004
	serve(t, api, bulk, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	serve(t, api, thinks, func(conn net.Conn) {
		for b := make([]byte, 100); ; {
			if _, err := io.ReadFull(conn, b); err != nil {
				return
			}
			time.Sleep(90 * time.Millisecond)
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	})
	serve(t, api, slow, func(conn net.Conn) {
		for b := make([]byte, 20_000); ; time.Sleep(100 * time.Millisecond) {
			if _, err := conn.Read(b); err != nil {
				return
			}
		}
	})
	connect := func(port int) net.Conn {
		conn, err := dial(t, web, api, port)
		if err != nil {
			t.Fatal(err)
		}
		return conn
	}
	write := func(conn net.Conn, pause time.Duration) {
		for b := make([]byte, 1<<14); ; time.Sleep(pause) {
			if _, err := conn.Write(b); err != nil {
				return
			}
		}
	}

	// An application that thinks, beside a connection that sends much, is none of our business. Much, and not all there is:
	// where tests share two CPUs, emulated ones at that, one that reads that is slow for want of a CPU, and called so.
	asks, fills := connect(thinks), connect(bulk)
	go func() {
		for b := make([]byte, 100); ; {
			if _, err := asks.Write(b); err != nil {
				return
			}
			if _, err := io.ReadFull(asks, b); err != nil {
				return
			}
		}
	}()
	go write(fills, 5*time.Millisecond)
	c.healthy(0, 5*time.Second)
	c.healthy(1, time.Second)
	fills.Close()

	go write(connect(slow), 0)
	for node := range c.agents { // at its own end and the sender's
		f := c.judged(node, diagnose.ReceiverSlow)
		if f.Stage != journey.Deliver || f.Device != netdev.PodLabel || f.Pairs[0].Dst != "default/"+lab.API {
			t.Errorf("node%d: at %s %s of %v", node+1, f.Stage, f.Device, f.Pairs)
		}
	}

	stop, stopped := context.WithCancel(t.Context())
	defer stopped()
	go func() {
		for ; stop.Err() == nil; time.Sleep(50 * time.Millisecond) {
			if conn, err := dial(t, web, api, nobody); err == nil {
				conn.Close()
			}
		}
	}()
	c.eventually(60*time.Second, "refused connections", func() (bool, string) {
		from := c.agents[1].SnapshotBefore(10 * time.Second)
		report := diagnose.Diagnose("node", from, c.now(1))
		return slices.ContainsFunc(report.Findings, func(f diagnose.Finding) bool {
			return f.Cause == diagnose.NoListener && f.Device == netdev.PodLabel
		}), report.Summary
	})
	stopped()

	const deaf = 7005
	listenDeaf(t, api, deaf)
	for range 4 {
		go func() {
			for t.Context().Err() == nil {
				if conn, err := dial(t, web, api, deaf); err == nil {
					defer conn.Close() // it waits for ever to be accepted
				}
				time.Sleep(100 * time.Millisecond)
			}
		}()
	}
	if f := c.judged(1, diagnose.AcceptQueueFull); f.Stage != journey.Deliver || f.Device != netdev.PodLabel || f.Pairs[0].Dst != "default/"+lab.API {
		t.Errorf("at %s %s of %v", f.Stage, f.Device, f.Pairs)
	}
}

// listenDeaf listens in a pod until the test ends, with room for two connections, and accepts none.
func listenDeaf(t *testing.T, pod lab.Pod, port int) {
	t.Helper()
	err := pod.Do(func() error {
		s, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		t.Cleanup(func() { unix.Close(s) })
		if err := unix.Bind(s, &unix.SockaddrInet4{Port: port}); err != nil {
			return err
		}
		return unix.Listen(s, 1)
	})
	if err != nil {
		t.Fatal(err)
	}
}
