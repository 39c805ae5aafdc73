package truth

import (
	"fmt"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// comcastFault is the fault that this tool is for: 500 ms of delay, 50 kbit/s and 10 % of loss on the overlay.
var comcastFault = lab.Fault{Delay: 500 * time.Millisecond, Rate: 50_000, Loss: 0.1, Tool: lab.Netem}

// comcast puts the qdiscs of the tool of that name under load, until packets wait far longer than the window in which
// they are looked at: nothing that was sent in it comes out in it.
func comcast(r *rig) {
	const longest, window = 6.0, 2 * time.Second
	w := r.pairs[0]
	at := place{0, journey.Queue, w.overlay}
	r.awaitDrops()
	before := r.queueDrops(0)
	if r.netem {
		if _, err := r.lab.Fault(comcastFault); err != nil {
			r.Fatal(err)
		}
	} else {
		r.tc(0, fmt.Sprintf("qdisc add dev %s root handle 10: tbf rate 50kbit burst 2000 limit 100000", w.overlay))
	}
	healed := false
	heal := func() {
		if healed {
			return
		}
		healed = true
		if !r.netem {
			r.tc(0, fmt.Sprintf("qdisc del dev %s root", w.overlay))
		} else if err := r.lab.Heal(); err != nil {
			r.Error(err)
		}
	}
	r.Cleanup(heal)

	r.learned(map[place]effect{at: {}})
	from := load.Monotonic()
	stop := r.send(load.Config{Rate: 60, Size: 200, Sockets: 128}, w)
	var oldest float64
	r.eventually(time.Minute, "packets that wait for more than 6 s", func() (bool, string) {
		oldest = 0
		for _, h := range r.now(0).Counts.InFlight {
			if h.Device == w.overlay && h.Stage == journey.Queue {
				oldest = max(oldest, h.Oldest)
			}
		}
		return oldest > longest, fmt.Sprintf("the oldest waits for %.1f s", oldest)
	})
	report := diagnose.Diagnose("node1", r.nodes[0].agent.SnapshotBefore(window), r.now(0))
	if f := report.Findings; report.Verdict != diagnose.Fault || len(f) == 0 || f[0].Cause != "qdisc-delay" || f[0].Device != w.overlay {
		r.Errorf("verdict %s: %s; want a fault: qdisc-delay at %s", report.Verdict, report.Summary, w.overlay)
	}
	stop()

	o := r.compare(leg{w, false}, from)
	r.agree(&o)
	longestWait := quantile(o.each(func(p *comparison) time.Duration { return p.stages[at] }), 1)
	if longestWait < 2*time.Second {
		r.Errorf("of %d packets that came out none waited longer than %v, and the oldest inside %.1f s", len(o.packets), longestWait, oldest)
	}
	for _, l := range o.lost {
		if l.at != at {
			r.Errorf("a packet was lost, by the tracer: %v; want %v", l.at, at)
		}
	}
	r.row("comcast's tree, 50 kbit/s overloaded", &o)
	r.eventually(20*time.Second, "drops as the qdisc counts them", func() (bool, string) {
		counted := r.queueDrops(0)[w.overlay] - before[w.overlay]
		var qdisc uint64
		for _, d := range r.now(0).Devices {
			if d.Name == w.overlay {
				qdisc = d.Root.Drops
			}
		}
		return counted == qdisc, fmt.Sprintf("counted %d, the qdisc says %d", counted, qdisc)
	})
	heal()
}
