package agent

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netstat"
)

// timeouts is how often TCP in a pod's namespace has waited in vain for an acknowledgement (TcpExtTCPTimeouts).
func timeouts(t *testing.T, pod lab.Pod) (n int) {
	t.Helper()
	err := pod.Do(func() error {
		r, err := netstat.Open()
		if err != nil {
			return err
		}
		stats, err := r.Read()
		n = int(stats.Protocols["TcpExtTCPTimeouts"])
		return errors.Join(err, r.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// catchUp waits until a node's agent has read all records of what has happened: those of packets that leave after it come later.
func (c *cluster) catchUp(node int) {
	c.Helper()
	sent := func() (packets float64) {
		for _, p := range c.now(node).Counts.Pairs {
			packets += p.Packets
		}
		return packets
	}
	before := sent()
	c.eventually(20*time.Second, "ten more packets", func() (bool, string) {
		n := sent() - before
		return n >= 10, fmt.Sprint(n)
	})
}

// cut takes a pod's device away.
func cut(t *testing.T, pod lab.Pod) {
	t.Helper()
	if err := pod.Do(func() error { return exec.CommandContext(t.Context(), "ip", "link", "del", "eth0").Run() }); err != nil {
		t.Fatal(err)
	}
}

// newTwin makes a lab that nobody traces, with the addresses of the one that is traced.
func newTwin(c *cluster, l load.Config) (web, api lab.Pod) {
	c.Helper()
	twin, err := lab.Up(c.Context(), lab.Options{Name: c.lab.Name() + "x", Load: l, RunDir: filepath.Join(c.dir, "twin")})
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() {
		if err := twin.Down(); err != nil {
			c.Error(err)
		}
	})
	web, _ = twin.Pod(lab.Web)
	api, _ = twin.Pod(lab.API)
	if traced, _ := c.lab.Pod(lab.Web); traced.Address != web.Address {
		c.Fatalf("web is at %v and at %v, want the same", traced.Address, web.Address)
	}
	return web, api
}

// TestTwinsDrops has a rule in a pod drop what comes, in a cluster whose addresses are those of the traced one.
func TestTwinsDrops(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 5, Size: 90})
	_, api := newTwin(c, load.Config{Rate: 50, Size: 90})
	const rules = "add table inet t; add chain inet t in { type filter hook input priority 0; }; add rule inet t in meta l4proto udp counter drop"
	if err := api.Do(func() error { return exec.CommandContext(t.Context(), "nft", rules).Run() }); err != nil {
		t.Fatal(err)
	}
	c.eventually(20*time.Second, "the rule drops 50 packets", func() (dropped bool, text string) {
		err := api.Do(func() error {
			out, err := exec.CommandContext(t.Context(), "nft", "list", "table", "inet", "t").Output()
			text = string(out)
			return err
		})
		n := 0
		if _, after, found := strings.Cut(text, "packets "); found {
			n, _ = strconv.Atoi(strings.Fields(after)[0])
		}
		return err == nil && n >= 50, text
	})
	c.catchUp(1)
	for _, d := range c.now(1).Counts.Drops {
		if d.Loss {
			t.Errorf("of packets that are not this cluster's it has %+v", d)
		}
	}
}

// TestOrphans has TCP keep a socket whose process and whose pod's device are gone. Its addresses are those of a pair that lives, as
// where a new pod was given the address: nothing of it is that pair's.
func TestOrphans(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 5, Size: 90})
	web, api := newTwin(c, load.Config{Rate: 1, Size: 90})
	serve(t, api, openPort, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	var conns []net.Conn
	for range 5 {
		conn, err := dial(t, web, api, openPort)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	cut(t, api)
	for _, conn := range conns {
		if _, err := conn.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	cut(t, web)
	before := timeouts(t, web)
	c.eventually(20*time.Second, "TCP in the pod that is gone tries each twice again", func() (bool, string) {
		n := timeouts(t, web) - before
		return n >= 2*len(conns), strconv.Itoa(n)
	})
	c.catchUp(0)
	if tcp := connections(c.now(0).Counts); tcp.Segments+tcp.Retransmits+tcp.Retransmitted+tcp.Delivered > 0 {
		t.Errorf("of connections that are not the pair's it has %+v", tcp)
	}
}

// TestMetLate has an agent start while TCP sends again and again: what it did before belongs to no window.
func TestMetLate(t *testing.T) {
	t.Parallel()
	c := newUntraced(t, lab.Options{Load: load.Config{Rate: 1, Size: 90}})
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	serve(t, api, openPort, func(conn net.Conn) { _, _ = io.Copy(conn, conn) })
	conn, err := dial(t, web, api, openPort)
	if err != nil {
		t.Fatal(err)
	}
	begun := timeouts(t, web)
	cut(t, api)
	if _, err := conn.Write([]byte("?")); err != nil {
		t.Fatal(err)
	}
	c.eventually(20*time.Second, "TCP sends three times again", func() (bool, string) {
		n := timeouts(t, web) - begun
		return n >= 3, strconv.Itoa(n)
	})
	before := timeouts(t, web)
	c.trace(governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3})
	var tcp aggregate.TCP
	// TCP waits twice as long each time: where an agent takes a minute to start, the second one comes after three more.
	c.eventually(4*time.Minute, "the agent sees two more", func() (bool, string) {
		tcp = connections(c.now(0).Counts)
		return tcp.Retransmitted >= 2, fmt.Sprintf("%+v", tcp)
	})
	if most := uint64(timeouts(t, web) - before); tcp.Retransmits < 1 || tcp.Retransmits > most {
		t.Errorf("%d retransmissions, want 1 to %d, as many as there were", tcp.Retransmits, most)
	}
}
