package pair

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"tracer/test/steady"
)

// counters are what a node's agent and its devices have counted: metrics by name and labels, "eth0/rx_packets" of devices.
type counters map[string]float64

// sum adds up those whose names contain all words.
func (c counters) sum(words ...string) (total float64) {
	for name, value := range c {
		if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(name, w) }) {
			total += value
		}
	}
	return total
}

// since is by how much they have grown.
func (c counters) since(before counters) counters {
	grown := counters{}
	for name, value := range c {
		grown[name] = value - before[name]
	}
	return grown
}

// readCounters prints a counter and its value on each line.
const readCounters = `for f in /sys/class/net/[^l]*/statistics/[rt]x_{packets,bytes}; do d=${f#/sys/class/net/}; echo "${d/\/statistics/} $(<$f)"; done
wget -qO- http://127.0.0.1:9435/metrics 2>/dev/null | grep -E '^tracer_(packets|bytes|drops|journeys|records_lost)_total|^tracer_sample_ratio' || true`

func (r *rig) read(m *machine) counters {
	r.Helper()
	all := counters{}
	for line := range strings.Lines(r.on(m, readCounters)) {
		line = strings.TrimSpace(line)
		end := strings.LastIndex(line, " ")
		name := line[:max(end, 0)]
		value, err := strconv.ParseFloat(line[end+1:], 64)
		if err != nil {
			r.Fatalf("%s: counter %q: %v", m.name, line, err)
		}
		all[name] = value
	}
	return all
}

// settled reads all machines' counters once nothing changes any more. The load is stopped, and goes on by signalLoad("CONT").
func (r *rig) settled() (node1, router, node2 counters) {
	r.Helper()
	r.signalLoad("STOP")
	defer func() {
		if r.Failed() {
			r.signalLoad("CONT")
		}
	}()
	total := func(c counters) float64 {
		return c.sum("rx_packets") + c.sum("tx_packets") + c.sum("tracer_packets_total") + c.sum("tracer_drops_total")
	}
	last := math.NaN()
	r.eventually(func() string {
		node1, router, node2 = r.read(r.node1), r.read(r.router), r.read(r.node2)
		before := last
		if last = total(node1) + total(node2); last == before {
			return ""
		}
		return "packets pass though the load is stopped"
	})
	return node1, router, node2
}

// signalLoad sends the load's client a signal: without it nothing is sent.
func (r *rig) signalLoad(signal string) {
	r.Helper()
	r.on(r.node1, "kill -"+signal+` $(sed -n 's/.*"pid": \([0-9]*\).*/\1/p' /run/tracer/lab/tracer/state.json)`)
}

// agree compares two counts.
func (r *rig) agree(what string, got, want, tolerance float64) {
	r.Helper()
	off := math.Abs(got-want) / max(want, 1)
	r.Logf("%s: %.0f, want %.0f: off by %.2f %%", what, got, want, off*100)
	if off > tolerance || want == 0 {
		r.Errorf("%s: %.0f, want %.0f", what, got, want)
	}
}

// bulk is how many bytes are sent each way.
const bulk = 8 << 20

// beginBulk begins to send that over TCP, each way over a connection of its own.
func (r *rig) beginBulk() {
	r.Helper()
	r.on(r.node2, fmt.Sprintf(`exec </dev/null >/dev/null 2>&1
ip netns exec tracer-api nc -l -p 5002 -e sh -c 'cat >/dev/null' &
ip netns exec tracer-api nc -l -p 5003 -e head -c %d /dev/zero &
for i in $(seq 100); do [[ $(ip netns exec tracer-api netstat -lnt | grep -c ':500[23] ') == 2 ]] && exit; usleep 200000; done
exit 1`, bulk))
	r.on(r.node1, fmt.Sprintf(`exec </dev/null >/dev/null 2>&1
rm -f /tmp/up /tmp/down
(head -c %d /dev/zero | ip netns exec tracer-cache nc %s 5002; touch /tmp/up) &
(ip netns exec tracer-cache nc %s 5003 | wc -c >/tmp/came; mv /tmp/came /tmp/down) &`, bulk, api, api))
}

// awaitBulk waits until all of it has come.
func (r *rig) awaitBulk() {
	r.Helper()
	r.on(r.node1, "for i in $(seq 600); do [[ -e /tmp/up && -e /tmp/down ]] && exit; usleep 500000; done; exit 1")
	if came := r.number(r.node1, "cat /tmp/down"); came != bulk {
		r.Errorf("%.0f bytes came back in bulk, want %d", came, bulk)
	}
}

// manyLarge is how many packets more must have passed the uplink than the overlay, in each direction, for large ones to have left and come.
const manyLarge = 200

// large is how many packets more a node's uplink sent and got than its overlay: large ones are cut before they leave, and GRO makes large ones
// of what comes.
func (r *rig) large(c counters) (cut, merged float64) {
	return c["eth0/tx_packets"] - c[r.overlay+"/tx_packets"], c["eth0/rx_packets"] - c[r.overlay+"/rx_packets"]
}

// counts sends in bulk in both directions beside the load. What agents counted is compared with what other kernels' devices did: large
// packets are cut before they leave, and put together again by the receiver's GRO.
func counts(r *rig) {
	before1, before, before2 := r.settled()
	r.signalLoad("CONT")
	var both [2]report
	r.eventually(func() string { // where machines get little of a CPU, TCP makes few large packets
		r.beginBulk()
		both = r.diagnose(10 * time.Second)
		r.awaitBulk()
		cut1, merged1 := r.large(r.read(r.node1).since(before1))
		cut2, merged2 := r.large(r.read(r.node2).since(before2))
		if least := min(cut1, merged1, cut2, merged2); least < manyLarge {
			return fmt.Sprintf("GSO cut packets, or GRO merged them, %.0f times, want %d", least, manyLarge)
		}
		return ""
	})
	after1, after, after2 := r.settled()
	r.signalLoad("CONT")
	node1, router, node2 := after1.since(before1), after.since(before), after2.since(before2)

	there := []string{`dst_workload="api"`}
	back := []string{`src_workload="api"`}
	count := func(c counters, metric string, way []string) float64 { return c.sum(append(way, metric)...) }
	const packets, bytes = "tracer_packets_total", "tracer_bytes_total"
	// On the wire nothing is large: what left is what the router received, and what came is what it sent.
	r.agree("node1: packets that left", count(node1, packets, there), router["eth0/rx_packets"], 0.01)
	r.agree("node2: packets that came", count(node2, packets, there), router["eth1/tx_packets"], 0.01)
	r.agree("node2: packets that left", count(node2, packets, back), router["eth1/rx_packets"], 0.01)
	r.agree("node1: packets that came", count(node1, packets, back), router["eth0/tx_packets"], 0.01)
	// An overlay's device counts bytes as metrics do: of a large packet one header.
	for _, m := range []struct {
		name    string
		c       counters
		out, in []string
	}{{"node1", node1, there, back}, {"node2", node2, back, there}} {
		r.agree(m.name+": bytes out", count(m.c, bytes, m.out), m.c[r.overlay+"/tx_bytes"], 0.01)
		r.agree(m.name+": bytes in", count(m.c, bytes, m.in), m.c[r.overlay+"/rx_bytes"], 0.01)
		r.Logf("%s: GSO cut %.0f packets into %.0f, GRO made %.0f of %.0f", m.name, m.c[r.overlay+"/tx_packets"], m.c["eth0/tx_packets"],
			m.c[r.overlay+"/rx_packets"], m.c["eth0/rx_packets"])
		// A large packet's journey ends where it is cut. TCP frees acknowledgements as if it dropped them once the application has closed a
		// connection whose data is on its way yet, as head does on node2.
		all := m.c.sum("tracer_journeys_total")
		// Where this machine stands still, sockets of the load's overflow: that is an end which is known as well.
		whole := m.c.sum(`outcome="finished"`) + m.c.sum(`outcome="split"`) + m.c.sum(`outcome="freed"`) + m.c.sum(`outcome="dropped"`)
		r.Logf("%s: of %.0f journeys %.0f are whole: %v", m.name, all, whole, m.c.outcomes())
		if whole < 0.99*all {
			r.Errorf("%s: of %.0f journeys %.0f are whole: %v", m.name, all, whole, m.c.outcomes())
		}
		if n := m.c.sum("tracer_records_lost_total"); n > 0 {
			r.Errorf("%s: %.0f records were lost", m.name, n)
		}
	}
	for i, p := range both {
		seen := 0
		for _, c := range p.Coverage {
			if c.Device == nil || c.Direction == nil || c.Ratio == nil {
				continue
			}
			seen++
			if *c.Ratio < 0.95 {
				r.Errorf("node%d: %.3f of the packets are seen at %s, %s: %v", i+1, *c.Ratio, *c.Device, *c.Direction, *c.Reason)
			}
		}
		if seen < 6 { // the pods' devices, the overlay and the uplink, in both directions
			r.Errorf("node%d: coverage is known of %d ways, want 6: %+v", i+1, seen, p.Coverage)
		}
		r.Logf("node%d says %s", i+1, p.said())
	}
}

// outcomes are the ends of journeys that have become more.
func (c counters) outcomes() (all []string) {
	for name, n := range c {
		if strings.HasPrefix(name, "tracer_journeys_total") && n > 0 {
			all = append(all, fmt.Sprintf("%s %.0f", strings.TrimPrefix(name, "tracer_journeys_total"), n))
		}
	}
	slices.Sort(all)
	return all
}

// queue compares how long packets wait in a queue with what it was told, and with what the load's clock says of their way.
func queue(r *rig) {
	const delay = 50 * time.Millisecond
	r.on(r.node1, "tracer lab fault --delay "+delay.String())
	defer r.on(r.node1, "tracer lab heal")
	r.eventually(func() string {
		if l := r.status(); l.RoundTrip.P50 < delay.Seconds() {
			return fmt.Sprintf("a round trip takes %.3f s", l.RoundTrip.P50)
		}
		return ""
	})
	for ask := 1; ; ask++ {
		watcher, err := steady.Start()
		if err != nil {
			r.Fatal(err)
		}
		wrong := r.waits(delay)
		stall, err := watcher.Stop()
		switch {
		case err != nil:
			r.Fatal(err)
		case wrong == "":
			return
		case !stall.Exceeded() || ask == maxAsks:
			r.Fatal(wrong)
		}
		r.Logf("measured again, as this machine did not keep up: %s: %s", stall, wrong)
	}
}

// waits says what is wrong with how long packets wait in the queue of node1's overlay.
func (r *rig) waits(delay time.Duration) (wrong string) {
	r.Helper()
	var waits []float64
	stage := "queue@" + r.overlay
	said := r.on(r.node1, "tracer trace --stage "+stage+" --once 200 --duration 1m -o json 2>/dev/null")
	for line := range strings.Lines(said) {
		var journey struct {
			Stages []struct {
				Stage, Device string
				Seconds       float64
			}
		}
		if err := json.Unmarshal([]byte(line), &journey); err != nil {
			r.Fatalf("%v: %s", err, line)
		}
		for _, s := range journey.Stages {
			if s.Stage+"@"+s.Device == stage {
				waits = append(waits, s.Seconds)
			}
		}
	}
	if len(waits) < 200 {
		r.Fatalf("%d packets passed %s, want 200", len(waits), stage)
	}
	slices.Sort(waits)
	load := r.status()
	median := waits[len(waits)/2]
	r.Logf("packets wait for %.4f to %.4f s, the median %.4f, want %v; round trips take %.4f s", waits[0], waits[len(waits)-1], median, delay, load.RoundTrip.P50)
	// A queue lets nothing out early. The emulated CPU may be late.
	if waits[0] < delay.Seconds()-0.0001 || median > delay.Seconds()+0.01 {
		return fmt.Sprintf("packets wait for %.4f s and more, half of them for %.4f s and more, want %v", waits[0], median, delay)
	}
	if median > load.RoundTrip.P50 {
		return fmt.Sprintf("half of the packets wait for %.4f s and more, and are back after %.4f s", median, load.RoundTrip.P50)
	}
	return ""
}

// drops compares the drops of a lossy queue with its own count, and with what comes to the other machine.
func drops(r *rig) {
	r.on(r.node1, "tracer lab fault --loss 20%")
	defer r.on(r.node1, "tracer lab heal")
	netem := func() float64 {
		var qdiscs []struct {
			Kind  string
			Drops float64
		}
		if err := r.node1.runJSON(r.Context(), "tc -s -j qdisc show dev "+r.overlay, &qdiscs); err != nil {
			r.Fatal(err)
		}
		for _, q := range qdiscs {
			if q.Kind == "netem" {
				return q.Drops
			}
		}
		r.Fatalf("there is no netem on %s: %+v", r.overlay, qdiscs)
		return 0
	}
	before1, _, before2 := r.settled()
	netemBefore := netem()
	r.signalLoad("CONT")
	r.eventually(func() string {
		if n := netem() - netemBefore; n < 100 {
			return fmt.Sprintf("%.0f packets were dropped", n)
		}
		return ""
	})
	after1, _, after2 := r.settled()
	dropped := netem() - netemBefore
	r.signalLoad("CONT")
	node1, node2 := after1.since(before1), after2.since(before2)
	r.agree("node1: drops at the overlay", node1.sum("tracer_drops_total", `device="`+r.overlay+`"`), dropped, 0.01)
	r.agree("node2: packets that came", node2.sum("tracer_packets_total", `dst_workload="api"`),
		node1.sum("tracer_packets_total", `dst_workload="api"`), 0.01)
	if n := node2.sum("tracer_drops_total"); n > 0 {
		r.Errorf("node2: %.0f drops, want none", n)
	}
}

// eventually waits until what says "". An emulated machine to which others leave little takes long for anything.
func (r *rig) eventually(what func() string) {
	r.Helper()
	const limit = 5 * time.Minute
	var last string
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(time.Second) {
		if last = what(); last == "" {
			return
		}
	}
	r.Fatalf("not within %v: %s", limit, last)
}
