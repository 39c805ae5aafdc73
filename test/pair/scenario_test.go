package pair

import (
	"fmt"
	"strings"
	"time"

	"tracer/test/steady"
)

// scenario is something that is broken, what the load must then meet, and what each node must say.
type scenario struct {
	name  string
	short bool // is played with -short as well
	// on are the machines where something is broken, and how. OVERLAY is the overlay's device, API the answering pod's address.
	on map[string]string
	// heal mends it, on the same machines.
	heal map[string]string
	// real is why it does not hurt, "" if it does: what neither agent says.
	real         func(*rig) string
	node1, node2 wanted
}

func scenarios() []scenario {
	slow := func(least time.Duration) func(*rig) string {
		return func(r *rig) string {
			l := r.status()
			if l.RoundTrip.Count > 0 && l.RoundTrip.P50 >= least.Seconds() {
				return ""
			}
			return fmt.Sprintf("a round trip takes %.3f s, want %v", l.RoundTrip.P50, least)
		}
	}
	loses := func(least float64) func(*rig) string {
		return func(r *rig) string {
			l := r.status()
			if l.Response.LossRatio >= least || l.RoundTrip.Count == 0 {
				return ""
			}
			return fmt.Sprintf("%.3f of the calls are lost, want %v", l.Response.LossRatio, least)
		}
	}
	return []scenario{
		{
			name: "healthy",
			real: func(r *rig) string {
				l := r.status()
				if l.RoundTrip.Count < 50 || l.TCP.Count < 10 || l.Response.LossRatio > 0 {
					return fmt.Sprintf("there is hardly any load: %+v", l)
				}
				return ""
			},
		},
		{
			name:  "slow queue at the sender's overlay",
			short: true,
			on:    map[string]string{"node1": "tracer lab fault --delay 200ms"},
			heal:  map[string]string{"node1": "tracer lab heal"},
			real:  slow(200 * time.Millisecond),
			node1: wanted{first: "qdisc-delay@OVERLAY"},
			// Its answers are acknowledged through that queue.
			node2: wanted{may: []string{"remote-delay@-"}},
		},
		{
			name:  "loss at the sender's overlay",
			on:    map[string]string{"node1": "tracer lab fault --loss 15%"},
			heal:  map[string]string{"node1": "tracer lab heal"},
			real:  loses(0.08),
			node1: wanted{first: "qdisc-drop@OVERLAY"},
			// Some of what is lost are acknowledgements.
			node2: wanted{may: []string{"remote-loss@-"}},
		},
		{
			name:  "delay at the router",
			on:    map[string]string{"router": "tc qdisc add dev eth1 root netem delay 150ms"},
			heal:  map[string]string{"router": "tc qdisc del dev eth1 root"},
			real:  slow(150 * time.Millisecond),
			node1: wanted{first: "remote-delay@-"},
			node2: wanted{first: "remote-delay@-"},
		},
		{
			name:  "loss at the router",
			on:    map[string]string{"router": "tc qdisc add dev eth1 root netem loss 15%"},
			heal:  map[string]string{"router": "tc qdisc del dev eth1 root"},
			real:  loses(0.08),
			node1: wanted{first: "remote-loss@-"},
			node2: wanted{may: []string{"remote-loss@-"}},
		},
		{
			name: "the receiver's policy drops",
			on: map[string]string{"node2": `nft add table ip deny
nft add chain ip deny forward '{ type filter hook forward priority 0; }'
nft add rule ip deny forward ip daddr API counter drop`},
			heal:  map[string]string{"node2": "nft delete table ip deny"},
			real:  loses(0.08),
			node1: wanted{first: "no-answer@-|remote-loss@-"},
			node2: wanted{first: "policy-drop@OVERLAY"},
		},
		{
			// Connections are made, and what follows is too large. Nobody says so. (A smaller MTU of the router's own would fragment VXLAN's packets.)
			name: "an MTU that is too small at the router",
			on: map[string]string{
				"router": `nft add table ip hush
nft add chain ip hush forward '{ type filter hook forward priority 0; }'
nft add rule ip hush forward ip length \> 1300 counter drop`,
				"node2": `ip netns exec tracer-api nc -ll -p 5001 -e sh -c 'cat >/dev/null' </dev/null >/dev/null 2>&1 & echo $! >/tmp/nc.pid`,
				"node1": `for i in 1 2 3 4; do
	(while :; do head -c 60000 /dev/zero | ip netns exec tracer-cache timeout 5 nc API 5001; usleep 100000; done) </dev/null >/dev/null 2>&1 &
	echo $! >>/tmp/loops.pid
done`,
			},
			heal: map[string]string{
				"router": "nft delete table ip hush",
				"node1":  "kill $(</tmp/loops.pid); rm /tmp/loops.pid",
				"node2":  "kill $(</tmp/nc.pid)",
			},
			real: func(r *rig) string {
				if n := r.number(r.router, `nft list chain ip hush forward | sed -n 's/.*packets \([0-9]*\).*/\1/p'`); n < 100 {
					return fmt.Sprintf("%.0f packets were too large, want 100", n)
				}
				return ""
			},
			// Until most of what is lost was sent a third time, nobody knows that it is its size.
			node1: wanted{first: "mtu@-", may: []string{"remote-loss@-"}},
		},
	}
}

// play breaks, asks, and mends.
func (s scenario) play(r *rig) {
	fill := strings.NewReplacer("OVERLAY", r.overlay, "API", api).Replace
	machines := []*machine{r.router, r.node2, r.node1}
	defer func() {
		for _, m := range machines {
			if s.heal[m.name] != "" {
				r.on(m, s.heal[m.name])
			}
		}
	}()
	r.quiet()
	for _, m := range machines {
		if s.on[m.name] != "" {
			r.on(m, fill(s.on[m.name]))
		}
	}
	watcher := r.watch()
	r.eventually(func() string { return s.real(r) })
	begin := time.Now()
	var stall steady.Stall
	for asks := 1; ; {
		asked := time.Now()
		wrong, missing := s.ask(r, fill)
		now, err := watcher.Stop()
		if err != nil {
			r.Fatal(err)
		}
		stall.Late, stall.Steal = max(stall.Late, now.Late), max(stall.Steal, now.Steal)
		watcher = r.watch()
		switch {
		case wrong == "":
			_, _ = watcher.Stop()
			return
		case missing && asked.Sub(begin) < 2*window: // snapshots that are compared are up to a window older than that
			r.Logf("asked again, as the window that was asked about began before the fault: %s", wrong)
			continue
		case !stall.Exceeded() || asks == steady.MaxAsks:
			r.Fatal(wrong)
		}
		asks++
		// Where an emulated machine stands still, applications are slow, sockets overflow and round trips take long, and that is what is found.
		r.Logf("%s%s: %s", steady.AskedAgain, stall, wrong)
		time.Sleep(window) // else what is asked about is the same stall
		stall = steady.Stall{}
		r.eventually(func() string { return s.real(r) })
	}
}

// watch begins to watch this machine. Nodes are asked about what has been, so it is watched from when something is broken.
func (r *rig) watch() *steady.Watcher {
	w, err := steady.Start()
	if err != nil {
		r.Fatal(err)
	}
	return w
}

// ask asks both nodes, and returns what is wrong with what they say, and whether something is only missing.
func (s scenario) ask(r *rig, fill func(string) string) (wrong string, missing bool) {
	both := r.diagnose(window)
	missing = true
	for i, want := range []wanted{s.node1, s.node2} {
		want.first = fill(want.first)
		r.Logf("node%d says %s", i+1, both[i].said())
		if why, only := want.check(both[i]); why != "" {
			wrong += fmt.Sprintf("node%d says %s\n%s; evidence:\n%s", i+1, both[i].said(), why, both[i].evidence())
			missing = missing && only
		}
	}
	return wrong, missing
}
