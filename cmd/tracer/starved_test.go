package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/cgroup"
	"tracer/test/scrape"
	"tracer/test/steady"
)

// starve is for how long agents have no time, or too little of it.
var starve = flag.Duration("starve", 5*time.Second, "for how long TestStarved leaves agents without CPU time")

// starved is a node with a known load, whose agent lacks something.
type starved struct {
	*testing.T
	lab     *lab.Lab
	metrics *scrape.Client
}

// TestStarved takes from an agent all its CPU time, nearly all, and its memory, under load. It goes on, says what it missed, and
// has counted the packets that passed meanwhile once it can.
func TestStarved(t *testing.T) {
	t.Parallel()
	s := newStarved(t, 1000)
	for name, test := range map[string]func(starved){
		"no CPU": starved.stopped, "a hundredth of a CPU": starved.throttled, "memory": starved.lessMemory,
	} {
		s := s
		t.Run(name, func(t *testing.T) { s.T = t; test(s) })
	}
}

// newStarved makes two nodes of which so many packets a second go from web to api.
func newStarved(t *testing.T, rate float64) starved {
	t.Helper()
	steady.Watch(t)
	l, err := lab.Up(t.Context(), lab.Options{
		Name: labName(t), RunDir: filepath.Join(t.TempDir(), "lab"),
		Load: load.Config{Rate: rate, Size: 100, Sockets: 8},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	return starved{T: t, lab: l, metrics: scrape.New(l.Node(1).Do)}
}

// stopped has the ring buffer overflow: nobody reads it until more has passed than it holds, however long that takes.
func (s starved) stopped() {
	a, from := s.start(":", "--max-records", "1000000", "--max-cpu", "100")
	if err := a.Process.Signal(unix.SIGSTOP); err != nil {
		s.Fatal(err)
	}
	stopped := load.Monotonic()
	time.Sleep(*starve)
	a.await("more packets than the ring holds", func() bool {
		const full = 12_000 // it holds 8,192 records
		seen, err := s.lab.Oracle(stopped, load.Monotonic())
		if err != nil {
			s.Fatal(err)
		}
		return seen.Request.Received+seen.Response.Received > full
	})
	if err := a.Process.Signal(unix.SIGCONT); err != nil {
		s.Fatal(err)
	}
	s.awaitCounts(a, from, 0)
	if s.value(a, "tracer_records_lost_total", "") == 0 {
		s.Error("a ring that was not read while it filled has lost nothing")
	}
	s.end(a)
}

// throttled leaves an agent a hundredth of a CPU, as a limit of 10m does.
func (s starved) throttled() {
	group := cgroup.New(s, cgroup.Limits{CPU: 0.01})
	a, from := s.start(":")
	if err := group.Add(a.Process.Pid); err != nil {
		s.Fatal(err)
	}
	time.Sleep(*starve)
	if err := group.Release(a.Process.Pid); err != nil {
		s.Fatal(err)
	}
	s.awaitCounts(a, from, 0)
	s.end(a)
}

// flows is how many flows there are at most between two pods: one for each port.
const flows = 60_000

// lessMemory has more flows than an agent keeps, with the memory that the chart gives it. It drops the details of the oldest ones and says
// how many; all count for their pair.
func (s starved) lessMemory() {
	group := cgroup.New(s, cgroup.Limits{Memory: 256 << 20})
	a, from := s.start(group.Join()+" && export GOMEMLIMIT=180MiB", "--max-records", "1000000", "--max-cpu", "100")
	web, _ := s.lab.Pod(lab.Web)
	api, _ := s.lab.Pod(lab.API)
	var more int
	err := web.Do(func() (err error) {
		more, err = sendFlows(api.Address, flows)
		return err
	})
	if err != nil {
		s.Fatal(err)
	}
	s.awaitCounts(a, from, more)
	lost := s.value(a, "tracer_records_lost_total", "")
	said := s.value(a, "tracer_flow_overflow_total", "")
	snapshot := s.snapshot(a)
	// Of a flow nothing is known if the record of its only packet was lost, or found no slot.
	if want := 0.9*float64(more) - lost - aggregate.DefaultMaxFlows; said == 0 || said < want {
		s.Errorf("the agent says that it dropped %.0f flows: of %d it keeps %d, and %.0f records were lost", said, more, aggregate.DefaultMaxFlows, lost)
	}
	if len(snapshot.Flows) != aggregate.DefaultMaxFlows || float64(snapshot.FlowOverflow) < said {
		s.Errorf("%d flows are kept and %d dropped, want %d and %.0f or more", len(snapshot.Flows), snapshot.FlowOverflow, aggregate.DefaultMaxFlows, said)
	}
	peak, err := group.PeakMemory()
	if err != nil {
		s.Fatal(err)
	}
	s.Logf("of %d flows %.0f dropped; resident memory %.0f MiB, with the kernel's at most %d MiB",
		more, said, s.value(a, "process_resident_memory_bytes", "")/(1<<20), peak>>20)
	s.end(a)
}

// sendFlows sends a datagram from each of so many ports, to one that nobody listens to.
func sendFlows(to netip.Addr, flows int) (sent int, err error) {
	for port := range flows {
		conn, err := net.DialUDP("udp", &net.UDPAddr{Port: 1024 + port}, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, 9)))
		if err != nil {
			continue // the load's own
		}
		if _, err := conn.Write([]byte("flow")); err == nil {
			sent++
		}
		if err := conn.Close(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// start starts an agent on the node, and tells from when on it counts.
func (s starved) start(limit string, args ...string) (a *agentProcess, from mark) {
	s.Helper()
	node := s.lab.Node(1)
	err := node.Do(func() error {
		a = launchAgentUnder(s, limit, append([]string{"--identity-file", node.IdentityFile}, args...)...)
		return nil
	})
	if err != nil {
		s.Fatal(err)
	}
	a.await("packets to be counted", func() bool {
		return strings.Contains(a.log.String(), "tracing started") && s.packets(a) > 1000
	})
	return a, mark{load.Monotonic(), s.packets(a)}
}

// mark is how many packets of the load an agent had counted at a time.
type mark struct {
	at      time.Duration
	packets float64
}

// awaitCounts waits until the agent has counted what the load has sent since, and so many packets more.
func (s starved) awaitCounts(a *agentProcess, from mark, more int) {
	s.Helper()
	var said string
	defer func() { s.Log(said) }()
	a.await("all packets to be counted", func() bool {
		packets := s.packets(a)
		report, err := s.lab.Oracle(from.at, load.Monotonic())
		if err != nil {
			s.Fatal(err)
		}
		sent := float64(report.Request.Sent + more)
		said = fmt.Sprintf("%.0f packets sent, %.0f counted, %.0f records lost", sent, packets-from.packets, s.value(a, "tracer_records_lost_total", ""))
		return packets > from.packets && math.Abs(packets-from.packets-sent) < 0.02*sent
	})
	err := s.lab.Node(1).Do(func() error { a.await("all to be well", a.healthy); return nil })
	if err != nil {
		s.Fatal(err)
	}
}

// packets is how many packets the agent has counted from web to api.
func (s starved) packets(a *agentProcess) float64 {
	s.Helper()
	return s.value(a, "tracer_packets_total", `src_workload="web"`)
}

// snapshot is what the agent has counted.
func (s starved) snapshot(a *agentProcess) (counted aggregate.Snapshot) {
	s.Helper()
	code, body, err := a.get("socket", "/v1/snapshot")
	if err == nil && code != http.StatusOK {
		err = fmt.Errorf("status %d", code)
	}
	if err == nil {
		err = json.Unmarshal([]byte(body), &counted)
	}
	if err != nil {
		s.Fatal(err)
	}
	return counted
}

// value adds up the series of a metric that have a label. It is 0 while the agent does not answer.
func (s starved) value(a *agentProcess, name, label string) (sum float64) {
	s.Helper()
	_, address := a.address("metrics")
	series, err := s.metrics.Read(s.Context(), address)
	if err != nil {
		s.Logf("no metrics: %v", err)
		return 0
	}
	for _, one := range series {
		if one.Name == name && strings.Contains(one.Labels, label) {
			sum += one.Value
		}
	}
	return sum
}

func (s starved) end(a *agentProcess) {
	s.Helper()
	if err := a.stop(); err != nil {
		s.Errorf("the end: %v: %s", err, a.log)
	}
	for line := range strings.Lines(a.log.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			s.Log(strings.TrimSpace(line))
		}
	}
}
