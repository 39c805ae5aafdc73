package truth

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"path/filepath"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/test/steady"
)

// runs is how often programs ran for one packet.
type runs struct{ tc, tracepoints float64 }

// TestRuns counts how often the programs run for each packet of a node whose devices have no queue that holds it: one that
// leaves it over an overlay, one that comes in, and one that is not the node's. The kernel counts; its statistics exist from
// 5.8 on.
func TestRuns(t *testing.T) {
	steady.Watch(t)
	r := newRig(t)
	node := r.trace(r.lab.Node(1), filepath.Join(t.TempDir(), "agent"), governor.Limits{})
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { statistics.Close() })
	w := r.vxlan()
	for _, test := range []struct {
		name     string
		from, to lab.Pod
		most     runs
	}{
		{"out", w.from, w.to, runs{3, 6}},
		{"in", w.to, w.from, runs{3, 6}},
		{"not ours", w.to, r.neighbour(w.to), runs{0, 3}},
	} {
		r.run(test.name, func(r *rig) { r.runsAtMost(node, test.from, test.to, test.most) })
	}
}

// neighbour is another pod on a pod's node.
func (r *rig) neighbour(pod lab.Pod) lab.Pod {
	r.Helper()
	for _, p := range r.lab.Pods() {
		if p.Node == pod.Node && p.Name != pod.Name {
			return p
		}
	}
	r.Fatalf("%s is alone on %s", pod.Name, pod.Node)
	return lab.Pod{}
}

// runsAtMost sends datagrams, and counts. Tracepoints see the whole machine, so what counts is the round with the fewest runs.
func (r *rig) runsAtMost(n *node, from, to lab.Pod, most runs) {
	r.Helper()
	const packets, slack = 400, 0.05
	sender, address := r.listen(from, to)
	var least map[string]float64
	sum := func(each map[string]float64) (s runs) {
		for program, n := range each {
			if program == "ingress" || program == "egress" {
				s.tc += n
			} else {
				s.tracepoints += n
			}
		}
		return s
	}
	r.eventually(60*time.Second, fmt.Sprintf("%.0f tc and %.0f tracepoint runs for a packet", most.tc, most.tracepoints), func() (bool, string) {
		before := r.programRuns(n)
		for range packets {
			if _, err := sender.WriteToUDPAddrPort(make([]byte, 64), address); err != nil {
				r.Fatal(err)
			}
		}
		each := r.programRuns(n)
		for program := range each {
			each[program] = math.Round((each[program]-before[program])/packets*100) / 100
		}
		if least == nil || sum(each).tracepoints < sum(least).tracepoints {
			least = each
		}
		s := sum(least)
		return s.tc <= most.tc+slack && s.tracepoints <= most.tracepoints+slack, fmt.Sprintf("%.2f and %.2f: %v", s.tc, s.tracepoints, least)
	})
	r.Log(least)
}

// listen has a pod read the datagrams of another.
func (r *rig) listen(from, to lab.Pod) (sender *net.UDPConn, address netip.AddrPort) {
	r.Helper()
	open := func(pod lab.Pod) (conn *net.UDPConn) {
		err := pod.Do(func() (err error) {
			conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: pod.Address.AsSlice()})
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		r.Cleanup(func() { conn.Close() })
		return conn
	}
	receiver := open(to)
	go func() {
		buffer := make([]byte, 64)
		for err := error(nil); err == nil; {
			_, err = receiver.Read(buffer)
		}
	}()
	return open(from), netip.AddrPortFrom(to.Address, uint16(receiver.LocalAddr().(*net.UDPAddr).Port))
}

// programRuns is how often each program of a node has run.
func (r *rig) programRuns(n *node) map[string]float64 {
	r.Helper()
	list, err := n.agent.Loader().Programs()
	if err != nil {
		r.Fatal(err)
	}
	all := map[string]float64{}
	for _, p := range list {
		all[p.Program] = float64(p.Runs)
	}
	return all
}
