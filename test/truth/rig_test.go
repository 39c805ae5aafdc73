package truth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/agent"
	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/record"
	"tracer/test/steady"
)

// rig is a lab whose nodes are traced, on which scenarios are played one after the other.
type rig struct {
	*testing.T
	lab      *lab.Lab
	nodes    [2]*node // requests leave the first and arrive at the second
	pairs    []*podPair
	kernel   string // "6.1"
	emulated bool
	netem    bool
}

// node is one that is traced.
type node struct {
	lab.Node
	agent *agent.Agent

	mu      sync.Mutex
	records []record.Record // of the pairs' packets
}

// firstPort is the port of the first way's server; the others' follow.
const firstPort = 7001

// everything samples every packet.
var everything = governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}

// newRig makes the lab. It is not traced until follow.
func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, kernel: release(), emulated: steady.InGuest()}
	dir := t.TempDir()
	var err error
	r.lab, err = lab.Up(t.Context(), lab.Options{
		Name: fmt.Sprintf("truth%d", os.Getpid()), RunDir: filepath.Join(dir, "lab"),
		Pods: []lab.PodSpec{{Name: "client", Node: "node1"}, {Name: "server", Node: "node2"}},
		Load: load.Config{Rate: 0.1, Size: 90}, // traffic of its own comes with each scenario
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.lab.Down(); err != nil {
			t.Error(err)
		}
	})
	r.netem = exec.Command("tc", "-n", string(r.lab.Node(1).Netns), "qdisc", "add", "dev", "lo", "root", "netem", "delay", "1ms").Run() == nil
	if r.netem {
		r.tc(0, "qdisc del dev lo root")
	}
	if r.emulated && (!r.netem || r.lab.Overlay() != lab.IPIP) {
		t.Fatalf("a guest's kernel has netem and ipip, this one lacks them: netem %v, overlay %s", r.netem, r.lab.Overlay())
	}
	r.addPodPairs()
	r.addNeighbours()
	return r
}

// follow has agents trace both nodes until the test ends.
func (r *rig) follow(limits governor.Limits) {
	r.Helper()
	dir := filepath.Join(r.TempDir(), "agent")
	for i := range r.nodes {
		r.nodes[i] = r.trace(r.lab.Node(i+1), dir, limits)
	}
}

// kernel is read once for all agents of these tests.
var kernel loader.Kernel

// trace starts an agent on a node, which samples by itself.
func (r *rig) trace(n lab.Node, dir string, limits governor.Limits) *node {
	r.Helper()
	return r.traceWith(n, dir, limits, nil)
}

// traceWith starts an agent on a node, with the key by which it samples.
func (r *rig) traceWith(n lab.Node, dir string, limits governor.Limits, key func() string) *node {
	r.Helper()
	traced := &node{Node: n}
	err := n.Do(func() (err error) {
		traced.agent, err = agent.Start(agent.Options{
			Loader: loader.Options{Dir: dir, Kernel: &kernel}, Namer: noNames{}, Limits: limits, SamplingKey: key,
		})
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- traced.agent.Run(ctx) }()
	records, lost := traced.agent.Subscribe(ctx, r.wants)
	go func() {
		for one := range records {
			traced.mu.Lock()
			traced.records = append(traced.records, one)
			traced.mu.Unlock()
		}
		ended <- nil
	}()
	r.Cleanup(func() {
		if n := lost(); n > 0 {
			r.Errorf("%s: %d records were not taken in time", traced.Name, n)
		}
		stop()
		if err := errors.Join(<-ended, <-ended, traced.agent.Close()); err != nil {
			r.Error(err)
		}
	})
	return traced
}

// noNames is a Namer without names: scenarios identify packets by their addresses.
type noNames struct{}

func (noNames) Lookup(netip.Addr, time.Duration) aggregate.Identity { return aggregate.Identity{} }

// wants selects the records of the pairs' packets.
func (r *rig) wants(one *record.Record) bool {
	ours := func(port uint16) bool { return port >= bulkPort && int(port) < firstPort+len(r.pairs) }
	return (one.First.Protocol == unix.IPPROTO_UDP || one.First.Protocol == unix.IPPROTO_TCP) &&
		(ours(one.First.Destination.Port()) || ours(one.First.Source.Port()))
}

// take returns what a node has recorded since the last reset.
func (n *node) take() []record.Record {
	n.mu.Lock()
	defer n.mu.Unlock()
	return slices.Clone(n.records)
}

func (n *node) reset() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = nil
}

// now is a snapshot of a node.
func (r *rig) now(i int) diagnose.Snapshot {
	r.Helper()
	m, err := r.nodes[i].agent.TakeSnapshot()
	if err != nil {
		r.Fatal(err)
	}
	return m
}

// counters are what the programs on both nodes say of themselves.
func (r *rig) counters() (all [2]loader.Counters) {
	r.Helper()
	for i, n := range r.nodes {
		var err error
		if all[i], err = n.agent.Loader().Counters(); err != nil {
			r.Fatal(err)
		}
	}
	return all
}

// missedPackets counts the packets inside a node whose journey the programs could not follow to its end, by their own
// counters: what is not known of a few packets must at least be counted. A journey that is still open may be one of them.
func (r *rig) missedPackets() (n uint64) {
	r.Helper()
	for _, c := range r.counters() {
		n += c.EvictedMismatch + c.Torn + c.TableFull + c.EvictedStale + c.Unfinished["egress"] + c.Unfinished["dequeue"] + c.Unfinished["xmit"]
	}
	for _, traced := range r.nodes {
		open, err := traced.agent.Loader().OpenJourneys()
		if err != nil {
			r.Fatal(err)
		}
		for i := range open {
			// Of what waits behind an ingress nothing was expected.
			if last := open[i].Passed(); last[len(last)-1].Hook != record.Ingress {
				n++
			}
		}
	}
	return n
}

// missedSince is by how much missedPackets has grown.
func (r *rig) missedSince(before uint64) uint64 {
	r.Helper()
	return max(r.missedPackets(), before) - before
}

// tc runs tc(8) in a node's namespace (0 is the first's).
func (r *rig) tc(i int, args string) {
	r.Helper()
	r.command("tc -n " + string(r.lab.Node(i+1).Netns) + " " + args)
}

// ip runs ip(8) on a namespace.
func (r *rig) ip(ns lab.Namespace, args string) {
	r.Helper()
	r.command("ip -n " + string(ns) + " " + args)
}

// inNode runs a command in a node's namespace, and returns what it says.
func (r *rig) inNode(i int, command string) string {
	r.Helper()
	return r.command("ip netns exec " + string(r.lab.Node(i+1).Netns) + " " + command)
}

// replace puts values in place of their names.
func replace(s string, values map[string]string) string {
	for name, value := range values {
		s = strings.ReplaceAll(s, name, value)
	}
	return s
}

// awaitDrops waits until all earlier drops are counted.
func (r *rig) awaitDrops() {
	r.Helper()
	var last string
	r.eventually(20*time.Second, "no more drops are counted", func() (bool, string) {
		now := fmt.Sprint(r.queueDrops(0), r.queueDrops(1), r.otherDrops(0), r.otherDrops(1))
		before := last
		last = now
		// Records are read ten times a second.
		time.Sleep(200 * time.Millisecond)
		return now == before, now
	})
}

func (r *rig) command(command string) string {
	r.Helper()
	words := strings.Fields(command)
	out, err := exec.Command(words[0], words[1:]...).CombinedOutput()
	if err != nil {
		r.Fatalf("%s: %v: %s", command, err, out)
	}
	return string(out)
}

// interval is how often something is looked at. That takes an emulated machine a while, in which it does nothing else.
func (r *rig) interval() time.Duration {
	if r.emulated {
		return 400 * time.Millisecond
	}
	return 50 * time.Millisecond
}

// eventually waits until done is true, and fails with what it said last.
func (r *rig) eventually(limit time.Duration, what string, done func() (bool, string)) {
	r.Helper()
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(r.interval()) {
		ok, text := done()
		if ok {
			return
		}
		last = text
	}
	r.Fatalf("%s: not within %v: %s", what, limit, last)
}

// run plays a scenario as a test of its own.
func (r *rig) run(name string, f func(r *rig)) {
	r.Run(name, func(t *testing.T) {
		steady.Watch(t)
		one := *r
		one.T = t
		f(&one)
	})
}

// release is the kernel's version as people speak of it: "6.12".
func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
