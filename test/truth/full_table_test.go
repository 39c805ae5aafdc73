package truth

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/lab/load"
	"tracer/internal/netdev"
)

// The table is full when 100,000 packets a second are in flight for half a second each. Here the queue lets fewer go and
// holds them longer, so that this machine has time for everything else.
const (
	tablePort    = 6990
	tablePackets = 50_000
	tableRate    = 6_000 // packets a second that leave the queue
	tableBytes   = 100   // of a packet, as the queue counts them
	tableStays   = 3 * time.Second
)

// tableCollisions is the share of them that find no slot at most, were the addresses of packets random: by Erlang's formula for
// sets of four slots.
const tableCollisions = 0.21

// fullTable has as many packets wait in one queue as the in-flight table is made for, and some more come. How many wait is
// compared with the queue's own count, how long with the receiver's clock, and how many are lost with the queue's count
// again.
func fullTable(r *rig) {
	w := r.vxlan()
	at := aggregate.StageKey{Stage: journey.Queue, Device: w.overlay, Direction: journey.Out}
	r.awaitDrops()
	r.tc(0, fmt.Sprintf("qdisc add dev %s root tbf rate %d burst %d limit %d", w.overlay,
		tableRate*tableBytes*8, tableRate*tableBytes/50, tablePackets*tableBytes))
	r.Cleanup(func() { r.tc(0, "qdisc del dev "+w.overlay+" root") })
	before, countersBefore, dropsBefore := r.now(0), r.counters()[0], r.queueDrops(0)[w.overlay]
	var oracle []time.Duration
	arrived := r.arrivals(w, tablePort, func(_ []byte, took time.Duration) { oracle = append(oracle, took) })
	const headers, stamp = 14 + 20 + 8, 8
	f := r.flows(w, tablePort, 1, tableBytes-headers-stamp)[0]
	sent := make(chan error, 1)
	go func() { sent <- fillQueue(f) }()

	// Both are as many as the queue has room for, whenever they are read.
	var waits, shares []float64
	for ended := false; !ended; {
		select {
		case err := <-sent:
			if err != nil {
				r.Fatal(err)
			}
			ended = true
		case <-time.After(r.interval()):
			m := r.now(0)
			backlog := float64(r.root(m.Devices, w.overlay).BacklogPackets)
			if backlog < 0.98*tablePackets {
				continue
			}
			for _, h := range m.Counts.InFlight {
				if h.StageKey == at {
					waits, shares = append(waits, backlog), append(shares, h.Packets/backlog)
				}
			}
		}
	}
	if len(shares) == 0 {
		r.Fatal("the queue was never full")
	}
	share := quantile(shares, 0.5)
	if math.Abs(share-1) > 0.03 {
		r.Errorf("of the packets that wait, by the queue's count, %.1f %% are in flight by the tracer's", 100*share)
	}

	var delay hist.Histogram
	var root netdev.Qdisc
	var drops uint64
	r.eventually(60*time.Second, "what the queue let go and what it dropped is counted", func() (bool, string) {
		m := r.now(0)
		root = r.root(m.Devices, w.overlay)
		for _, s := range m.Counts.Since(before.Counts).Stages {
			if s.StageKey == at {
				delay = s.Delay
			}
		}
		drops = r.queueDrops(0)[w.overlay] - dropsBefore
		near := func(got, want uint64) bool { return math.Abs(float64(got)-float64(want)) <= 0.02*float64(want) }
		return root.BacklogPackets == 0 && root.Drops > 0 && near(delay.Count(), root.Packets) && near(drops, root.Drops),
			fmt.Sprintf("counted %d and %d drops; the queue let %d go, dropped %d and holds %d", delay.Count(), drops, root.Packets,
				root.Drops, root.BacklogPackets)
	})
	arrived()
	worst := 0.0
	if got, all := float64(len(oracle)), float64(root.Packets); got < 0.99*all {
		r.Errorf("the receiver saw %.0f of %.0f packets, too few to compare with", got, all)
	}
	for _, q := range []float64{0.1, 0.5, 0.9, 0.99} {
		got, want := delay.Quantile(q), quantile(oracle, q).Seconds()
		worst = max(worst, math.Abs(got/want-1))
		if math.Abs(got/want-1) > 0.05 {
			r.Errorf("%v of the packets waited up to %.3f s, by the receiver's clock up to %.3f s", q, got, want)
		}
	}
	after := r.counters()[0]
	collisions := float64(after.TableFull - countersBefore.TableFull)
	collisions /= collisions + float64(after.Started-countersBefore.Started)
	if collisions > tableCollisions {
		r.Errorf("%.1f %% of the packets found no slot", 100*collisions)
	}
	// Kernel and scenario; how many wait, by the queue and by the tracer; in percent those that found no slot, and the
	// largest error of a quantile; drops, by the queue and by the tracer.
	fmt.Printf("crowd\t%s\t%s\t%.0f\t%.0f\t%.1f\t%.1f\t%d\t%d\n", r.kernel, "50,000 packets wait at the overlay",
		quantile(waits, 0.5), share*quantile(waits, 0.5), 100*collisions, 100*worst, root.Drops, drops)
}

// fillQueue fills the queue, and then for a while sends a tenth more than it lets go.
func fillQueue(f flow) error {
	begin := load.Monotonic()
	var full time.Duration
	for n := 0; full == 0 || load.Monotonic()-full < tableStays; n++ {
		for {
			elapsed := load.Monotonic() - begin
			if n < tablePackets+int(1.1*tableRate*elapsed.Seconds()) {
				break
			}
			if full == 0 {
				full = begin + elapsed
			}
			time.Sleep(time.Millisecond)
		}
		if elapsed := load.Monotonic() - begin; full == 0 && elapsed > time.Minute {
			return fmt.Errorf("%d packets in %v do not fill the queue", n, elapsed)
		}
		if err := f.send(); err != nil {
			return err
		}
	}
	return nil
}

// arrivals takes packets that bear when they were sent, where they are sent to, and notes how long each was on its way.
// It ends, and no more is noted, when ended returns.
func (r *rig) arrivals(w *podPair, port uint16, note func(contents []byte, took time.Duration)) (ended func()) {
	r.Helper()
	var conn *net.UDPConn
	err := w.to.Do(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(w.server.Addr(), port)))
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() { conn.Close() })
	raw, err := conn.SyscallConn()
	if err == nil {
		var set error
		err = raw.Control(func(fd uintptr) {
			// Whoever reads may have to wait for a CPU.
			set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20)
		})
		err = errors.Join(err, set)
	}
	if err != nil {
		r.Fatal(err)
	}
	receiver, err := load.NewReceiver(conn, load.Monotonic)
	if err != nil {
		r.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 2048); ; {
			n, _, arrived, _, err := receiver.Read(b)
			if err != nil {
				return
			}
			note(b[:n], arrived-time.Duration(binary.NativeEndian.Uint64(b)))
		}
	}()
	ended = sync.OnceFunc(func() {
		conn.Close()
		<-done
	})
	r.Cleanup(ended)
	return ended
}

// root is a device's root qdisc.
func (r *rig) root(devices []netdev.Device, name string) netdev.Qdisc {
	r.Helper()
	for _, d := range devices {
		if d.Name == name {
			return d.Root
		}
	}
	r.Fatalf("there is no %s", name)
	return netdev.Qdisc{}
}
