package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/record"
	"tracer/test/steady"
)

// cluster is a lab with an agent on each node.
type cluster struct {
	*testing.T
	dir    string
	lab    *lab.Lab
	agents []*Agent
}

// names tells pods by their addresses.
type names map[netip.Addr]aggregate.Identity

func (n names) Lookup(a netip.Addr, _ time.Duration) aggregate.Identity { return n[a] }

func newCluster(t *testing.T, l load.Config, change ...func(*Options)) *cluster {
	t.Helper()
	// No limit that a busy machine would come to.
	return newLimitedCluster(t, l, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}, change...)
}

func newLimitedCluster(t *testing.T, l load.Config, limits governor.Limits, change ...func(*Options)) *cluster {
	t.Helper()
	return newLabCluster(t, lab.Options{Load: l}, limits, change...)
}

// newLabCluster returns nil where the kernel lacks a device that o asks for.
func newLabCluster(t *testing.T, o lab.Options, limits governor.Limits, change ...func(*Options)) *cluster {
	t.Helper()
	c := newUntraced(t, o)
	if c != nil {
		c.trace(limits, change...)
	}
	return c
}

// newUntraced is newLabCluster without agents.
func newUntraced(t *testing.T, o lab.Options) *cluster {
	t.Helper()
	steady.Watch(t)
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	dir := t.TempDir()
	c := &cluster{T: t, dir: dir}
	var err error
	o.Name, o.RunDir = "a"+strconv.FormatUint(uint64(h.Sum32()), 36), filepath.Join(dir, "lab")
	c.lab, err = lab.Up(t.Context(), o)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.lab.Down(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// kernel is read once for all agents of these tests.
var kernel loader.Kernel

// trace starts an agent on each node.
func (c *cluster) trace(limits governor.Limits, change ...func(*Options)) {
	c.Helper()
	known := names{}
	for _, p := range c.lab.Pods() {
		id := aggregate.Identity{Namespace: "default", Workload: p.Name, Pod: p.PodName}
		known[p.Address], known[p.Address6] = id, id
	}
	service := c.lab.Service()
	known[service.Address] = aggregate.Identity{Namespace: "default", Service: service.Name}
	for _, n := range c.lab.Nodes() {
		var a *Agent
		err := n.Do(func() (err error) {
			o := Options{Loader: loader.Options{Dir: filepath.Join(c.dir, "agent"), Kernel: &kernel}, Namer: maps.Clone(known), Limits: limits} // which change may change
			for _, f := range change {
				f(&o)
			}
			a, err = Start(o)
			return err
		})
		if err != nil {
			c.Fatal(err)
		}
		ctx, stop := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		c.Cleanup(func() {
			stop()
			if err := errors.Join(<-ended, a.Close()); err != nil {
				c.Error(err)
			}
		})
		c.agents = append(c.agents, a)
	}
}

// eventually waits until done is true, and fails with what it said last.
func (c *cluster) eventually(limit time.Duration, what string, done func() (bool, string)) {
	c.Helper()
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ok, text := done()
		if ok {
			return
		}
		last = text
	}
	c.Fatalf("%s: not within %v: %s", what, limit, last)
}

func (c *cluster) now(node int) diagnose.Snapshot {
	c.Helper()
	m, err := c.agents[node].TakeSnapshot()
	if err != nil {
		c.Fatal(err)
	}
	return m
}

// watch lets time pass on all nodes and returns what each counted in it, and what the application saw.
func (c *cluster) watch(d time.Duration) (windows []*aggregate.Snapshot, seen lab.Report) {
	c.Helper()
	begin := loader.Monotonic()
	var from []diagnose.Snapshot
	for i := range c.agents {
		from = append(from, c.now(i))
	}
	time.Sleep(d)
	for i := range c.agents {
		windows = append(windows, c.now(i).Counts.Since(from[i].Counts))
	}
	end := loader.Monotonic()
	seen, err := c.lab.Recent(end-begin, end)
	if err != nil {
		c.Fatal(err)
	}
	return windows, seen
}

// settled waits until a fault's delay is there, in seconds, by the application's clock: a queue has to fill first.
func (c *cluster) settled(least float64, seconds func(lab.Report) float64) {
	c.Helper()
	c.eventually(60*time.Second, "the fault's delay", func() (bool, string) {
		seen, err := c.lab.Recent(500*time.Millisecond, loader.Monotonic())
		if err != nil {
			c.Fatal(err)
		}
		got := seconds(seen)
		return got >= least, fmt.Sprintf("%v s, want %v", got, least)
	})
}

// sampled waits until a node's agent no longer follows each packet.
func (c *cluster) sampled(node int) {
	c.Helper()
	c.eventually(20*time.Second, "packets are sampled", func() (bool, string) { return c.agents[node].Sampling().OneIn > 1, "" })
}

// stages are those that packets between two workloads met.
func stages(s *aggregate.Snapshot, src, dst string) map[journey.Stage]aggregate.StageDelay {
	found := map[journey.Stage]aggregate.StageDelay{}
	for _, p := range s.Pairs {
		if p.SrcWorkload == src && p.DstWorkload == dst {
			for _, d := range p.Stages {
				found[d.Stage] = d
			}
		}
	}
	return found
}

// lostSight is of how many packets the programs found the slot written by another one.
func lostSight(c loader.Counters) uint64 { return c.EvictedMismatch + c.Torn }

// unseen is of how many packets a tracepoint may have been missed. Some kernels run no tracing program in the context of
// certain processes, and a softirq that interrupts one of these is in it: docs/design.md#skipped-tracepoints.
func unseen(packets uint64) uint64 { return 2 + packets/100 }

// TestHealthy follows the Service's packets through both nodes, of whom each sees its own alone.
func TestHealthy(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	windows, seen := c.watch(3 * time.Second)
	if seen.Request.Delay.Count == 0 {
		t.Fatal("the application is silent")
	}
	overlay := c.lab.OverlayDevice()
	for i, want := range []map[journey.Stage]string{
		{journey.Forward: overlay, journey.Encap: overlay},
		{journey.Decap: overlay, journey.Forward: "pod"},
	} {
		got := stages(windows[i], lab.Web, lab.API)
		var sum float64
		for stage, device := range want {
			d, ok := got[stage]
			if !ok || d.Device != device || d.Delay.Count() < 50 {
				t.Errorf("node %d: stage %s is %+v, want at %s with at least 50 packets", i+1, stage, d.StageKey, device)
			}
			sum += d.Delay.Quantile(0.5)
		}
		if _, ok := got[journey.Queue]; ok {
			t.Errorf("node %d: a queue was measured where there is none", i+1)
		}
		if sum >= seen.Request.Delay.P50 {
			t.Errorf("node %d: stages add up to %v s, the whole way takes %v s", i+1, sum, seen.Request.Delay.P50)
		}
	}
	for i, a := range c.agents {
		counters, err := a.loader.Counters()
		if err != nil {
			t.Fatal(err)
		}
		if counters.Undecoded+counters.Malformed+counters.Missed["journey"] != 0 || lostSight(counters) > unseen(counters.Started) {
			t.Errorf("node %d: %+v", i+1, counters)
		}
		if report := diagnose.Diagnose("node", diagnose.Snapshot{Counts: &aggregate.Snapshot{}}, c.now(i)); report.Verdict != diagnose.Healthy {
			t.Errorf("node %d: verdict %s: %s", i+1, report.Verdict, report.Summary)
		}
	}
}

// send sends ten datagrams from a pod to an address where nobody listens.
func send(t *testing.T, from lab.Pod, to netip.Addr) {
	t.Helper()
	err := from.Do(func() error {
		conn, err := net.Dial("udp", netip.AddrPortFrom(to, 9).String())
		if err != nil {
			return err
		}
		defer conn.Close()
		for sent := 0; sent < 10; {
			// A write may report the answer to the one before, and send nothing.
			if _, err := conn.Write([]byte("a datagram to a neighbour")); err == nil {
				sent++
			} else if !errors.Is(err, unix.ECONNREFUSED) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestIPv6 sends IPv6 through the overlay. Where the packets lack room for another header the kernel goes on with
// clones of them, which are the same packets to us.
func TestIPv6(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	before, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	send(t, web, api.Address6)
	for node, direction := range []journey.Direction{journey.Out, journey.In} {
		c.eventually(10*time.Second, "datagrams over IPv6", func() (bool, string) {
			var n float64
			for _, f := range c.now(node).Counts.Flows {
				if f.First.Destination.Addr() == api.Address6 && f.First.Protocol == unix.IPPROTO_UDP && f.Direction == direction {
					n += f.Packets
				}
			}
			return n == 10, fmt.Sprintf("node %d counted %v of 10", node+1, n)
		})
	}
	after, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if after.NoIngress != before.NoIngress {
		t.Errorf("%d packets came to an egress without a begin", after.NoIngress-before.NoIngress)
	}
}

// TestLocal sends between two pods of one node: the node sees that, the other one does not.
func TestLocal(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	cache, ok := c.lab.Pod("cache")
	if !ok {
		t.Fatal("the lab has no second pod on the first node")
	}
	for _, to := range []netip.Addr{web.Address, web.Address6} {
		send(t, cache, to)
	}
	count := func(node int) (n float64) {
		for _, p := range c.now(node).Counts.Pairs {
			if p.SrcWorkload == "cache" && p.DstWorkload == lab.Web && p.Direction == journey.Local {
				n += p.Packets
			}
		}
		return n
	}
	c.eventually(10*time.Second, "datagrams over IPv4 and IPv6", func() (bool, string) {
		n := count(0)
		return n == 20, fmt.Sprintf("%v of 20 counted", n)
	})
	if n := count(1); n != 0 {
		t.Errorf("the other node counted %v of them", n)
	}
}

// TestService shows that a journey has the Service's address and the backend's.
func TestService(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 400, Size: 90})
	api, _ := c.lab.Pod(lab.API)
	service := c.lab.Service()
	records, lost := c.agents[0].Subscribe(t.Context(), func(r *record.Record) bool {
		return r.First.Destination.Addr() == service.Address
	})
	select {
	case r := <-records:
		if r.Last.Destination != netip.AddrPortFrom(api.Address, service.TargetPort) || r.First.Destination.Port() != service.Port {
			t.Errorf("sent to %v, then to %v; want %v:%d, then %v:%d", r.First.Destination, r.Last.Destination,
				service.Address, service.Port, api.Address, service.TargetPort)
		}
		if r.First.Source != r.Last.Source {
			t.Errorf("the source was rewritten from %v to %v", r.First.Source, r.Last.Source)
		}
		var hooks []string
		for _, h := range r.Passed() {
			hooks = append(hooks, h.Hook.String())
		}
		want := []string{"ingress", "egress", "xmit", "egress", "xmit"}
		if fmt.Sprint(hooks) != fmt.Sprint(want) {
			t.Errorf("hooks %v, want %v", hooks, want)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("no call to the Service was seen")
	}
	// A subscriber that reads no more costs itself records, and nobody else.
	c.eventually(30*time.Second, "a slow subscriber loses records", func() (bool, string) {
		return lost() > 0, fmt.Sprintf("%d wait", len(records))
	})
}
