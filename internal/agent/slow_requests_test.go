package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tracer/internal/aggregate"
	clusters "tracer/internal/cluster"
	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/test/steady"
)

// TestDividedRequests asks over connections that are kept, of which nothing on their client's node tells the network from the server. Both
// nodes together tell which of them is slow.
func TestDividedRequests(t *testing.T) {
	// Not in parallel: while another test's programs are verified on the same CPU, the server is slow as well.
	c, _, _ := askedCluster(t)
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	key := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: web.Name, DstNamespace: "default", DstWorkload: api.Name}
	learnt := &c.agents[0].baseline
	learnt.mu.Lock()
	learnt.learned = time.Now().Add(time.Hour) // and nothing else meanwhile
	learnt.requests = map[aggregate.PairKey]float64{key: 0.0025}
	learnt.peers = map[diagnose.PeerKey]float64{{Node: "default/api", Handshake: true}: 0.001} // its node has no name here
	learnt.mu.Unlock()

	conns := make([]net.Conn, 4)
	for i := range conns {
		err := web.Do(func() (err error) {
			conns[i], err = net.DialTimeout("tcp", netip.AddrPortFrom(api.Address, askedPort).String(), 20*time.Second)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer conns[i].Close()
	}
	var ids atomic.Uint32
	ask := func(d, work time.Duration) {
		var group sync.WaitGroup
		end := time.Now().Add(d)
		for _, conn := range conns {
			group.Go(func() {
				for time.Now().Before(end) {
					if _, err := askOnce(conn, ids.Add(1), 100, 100, work); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		group.Wait()
	}
	places := clusters.Map{Places: map[netip.Addr]clusters.Place{}}
	for _, p := range c.lab.Pods() {
		places.Places[p.Address] = clusters.Place{Namespace: "default", Workload: p.Name, Node: p.Node}
	}
	judge := func(work time.Duration) (alone diagnose.Report, r clusters.Report) {
		ask(time.Second, work)
		from := []diagnose.Snapshot{c.now(0), c.now(1)}
		ask(3*time.Second, work)
		var answers []clusters.Answer
		for i := range from {
			node := fmt.Sprintf("node%d", i+1)
			to := c.now(i)
			from[i].Stats.CPUs, to.Stats.CPUs = nil, nil // others have them here: it is not judged then
			report := diagnose.Diagnose(node, from[i], to)
			answers = append(answers, clusters.Answer{Node: node, Report: &report})
		}
		r = clusters.Merge(answers, places, "")
		t.Logf("%s\n%s", answers[0].Report.Summary, r.Summary)
		for _, f := range r.Findings {
			t.Logf("%s on %v: %q", f.Finding.Cause, f.Nodes, f.Finding.Evidence)
		}
		return *answers[0].Report, r
	}
	found := func(all []clusters.Finding, cause diagnose.Cause, nodes ...string) bool {
		return slices.ContainsFunc(all, func(f clusters.Finding) bool {
			return f.Finding.Cause == cause && (nodes == nil || slices.Equal(f.Nodes, nodes))
		})
	}
	blamed := func(all []clusters.Finding) bool {
		return found(all, diagnose.Wire) || found(all, diagnose.RemoteDelay)
	}
	isSlow := func(r *diagnose.Report) bool {
		return slices.ContainsFunc(r.Findings, func(f diagnose.Finding) bool { return f.Cause == diagnose.RequestsSlow && f.Severity == diagnose.Info })
	}

	// Where the machine stands still, so does the server.
	expect := func(what string, work time.Duration, right func(alone *diagnose.Report, all []clusters.Finding) bool) {
		t.Helper()
		steady.Repeat(t, func() string {
			alone, r := judge(work)
			if right(&alone, r.Findings) {
				return ""
			}
			return fmt.Sprintf("%s: %s; %s", what, alone.Summary, r.Summary)
		})
	}

	expect("as usual", 2*time.Millisecond, func(_ *diagnose.Report, all []clusters.Finding) bool { return !blamed(all) })
	expect("a slow server", 30*time.Millisecond, func(alone *diagnose.Report, all []clusters.Finding) bool {
		return isSlow(alone) && found(all, diagnose.ServerSlow, "node2") && !blamed(all)
	})
	// Each packet to node2 waits for the others there, some 8 ms for each.
	c.run(lab.Namespace(c.lab.Name()+"-wire"), "", "tc", "qdisc", "add", "dev", "node2", "root", "tbf", "rate", "200kbit", "burst", "400", "limit", "100000")
	expect("a slow wire", 2*time.Millisecond, func(alone *diagnose.Report, all []clusters.Finding) bool {
		return isSlow(alone) && found(all, diagnose.Wire, "node1", "node2") && !found(all, diagnose.ServerSlow)
	})
}
