package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// covered is the share of the packets that must be seen at every device, in both directions.
const covered = 0.95

// layout is a cluster with a plugin's network and load, and what was measured on it.
type layout struct {
	*cluster
	load *load
	// socketLB: sockets are given a pod's address in place of a Service's, which is in no packet.
	socketLB bool

	least   map[string]float64 // share of the packets that was seen, by direction, where it was least
	stories []string
	sent    uint64 // packets while agents came and went
	lost    int64
	apart   string // the most by which the agent's counts differed from a device's; "–" where they were not compared
}

func newLayout(c *cluster, l *load) *layout {
	return &layout{cluster: c, load: l, least: map[string]float64{}, apart: "–"}
}

// starved is what is rightly found where all of this has too little CPU: an application then reads too slowly.
const starved = "receiver-slow"

// healthy waits until the agents see enough and find nothing but what is so on purpose.
func (l *layout) healthy(t *testing.T) {
	t.Helper()
	l.seen(t)
	for _, n := range l.nodes {
		until(t, time.Minute, "be healthy on "+n.Name, func() error {
			r, err := diagnose(n)
			wrong := slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Severity != "info" && f.Cause != starved })
			if err == nil && (wrong || r.Verdict != "healthy" && !slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Cause == starved })) {
				err = fmt.Errorf("%s: %s %+v", r.Verdict, r.Summary, r.Findings)
			}
			return err
		})
	}
}

// seen waits until the agents see enough of all ways.
func (l *layout) seen(t *testing.T) {
	t.Helper()
	for _, n := range l.nodes {
		var rows []coverage
		until(t, time.Minute, "see what passes on "+n.Name, func() error {
			r, err := diagnose(n)
			if err != nil {
				return err
			}
			rows = slices.DeleteFunc(r.Coverage, func(c coverage) bool { return c.Ratio == nil })
			for _, c := range rows {
				if *c.Ratio < covered {
					return errors.New(c.String() + ": " + c.Reason)
				}
			}
			for _, direction := range []string{"out", "in"} {
				if !slices.ContainsFunc(rows, func(c coverage) bool { return c.Device == "pod" && c.Direction == direction }) {
					return fmt.Errorf("it is not known how much is seen of pod %s", direction)
				}
			}
			return nil
		})
		text := ""
		for _, c := range rows {
			text += ", " + c.String()
			if old, ok := l.least[c.Direction]; !ok || *c.Ratio < old {
				l.least[c.Direction] = *c.Ratio
			}
		}
		t.Logf("%s: seen of%s", n.Name, text[1:])
	}
}

// party is one end of a pair.
type party struct{ Namespace, Workload string }

// named waits until the agent of the callers' node has what web asks a Service's pods by their name and the Service's.
func (l *layout) named(t *testing.T, dst party, service string) {
	t.Helper()
	until(t, time.Minute, "name both ends of what is asked of "+service, func() error {
		out, err := l.nodes[0].Tracer("top", "--once", "-o", "json")
		if err != nil {
			return err
		}
		var top struct {
			Rows []struct {
				Src, Dst  party
				Service   string
				Endpoint  string `json:"endpoint_of"`
				Direction string
			}
		}
		if err := json.Unmarshal([]byte(out), &top); err != nil {
			return err
		}
		for _, r := range top.Rows {
			of := r.Service
			if l.socketLB {
				of = r.Endpoint
			}
			if r.Src == (party{"store", "web"}) && r.Dst == dst && of == service && r.Direction == "out" {
				return nil
			}
		}
		return fmt.Errorf("no row from web to %v by the Service: %+v", dst, top.Rows)
	})
}

// restarts starts, stops, kills and replaces the agents under load. The load must lose no packet, and the agents must leave
// nothing and change nothing of what others made. One agent runs on each node when it returns.
func (l *layout) restarts(t *testing.T) {
	t.Helper()
	var before [2]map[string]string
	for i, n := range l.nodes {
		before[i] = picture(t, n)
	}
	unchanged := func() error {
		t.Helper()
		for i, n := range l.nodes {
			if text := changed(t, n, before[i]); text != "" {
				return errors.New(text)
			}
		}
		return nil
	}
	for _, step := range []struct {
		name string
		do   func()
	}{
		{"start", func() {
			l.startAgents(t)
			l.healthy(t)
			l.named(t, party{"store", "api"}, "store/api")
			l.named(t, party{"kube-system", "kube-dns"}, "kube-system/kube-dns") // of a pod elsewhere the Service is known
		}},
		{"stop", func() {
			l.stopAgents(t)
			until(t, time.Minute, "be left as it was", unchanged)
		}},
		{"start again", func() { l.startAgents(t) }},
		{"SIGKILL", func() { l.killAgents(t) }},
		{"upgrade", func() {
			old := l.agents()
			l.kubectl(t, "-n tracer rollout restart daemonset/tracer")
			l.kubectl(t, "-n tracer rollout status daemonset/tracer --timeout=300s")
			l.agentsGone(t, old)
		}},
		{"SIGKILL, and never again", func() {
			for _, pid := range l.agents() {
				if err := unix.Kill(pid, unix.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			l.kubectl(t, "-n tracer delete daemonset tracer --grace-period=0 --force")
			// The kubelet may have started one once more before it heard that.
			until(t, time.Minute, "be left as it was", func() error {
				l.agentsGone(t, nil)
				return unchanged()
			})
		}},
		{"start at last", func() { l.startAgents(t) }},
	} {
		l.undisturbed(t, step.name, step.do)
	}
}

// killAgents kills the agents, and waits until the kubelets have started them again.
func (l *layout) killAgents(t *testing.T) {
	t.Helper()
	old := l.agents()
	if len(old) != len(l.nodes) {
		t.Fatalf("%d agents run", len(old))
	}
	for _, pid := range old {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	l.agentsGone(t, old)
	for _, n := range l.nodes {
		until(t, time.Minute, "start the agent on "+n.Name+" again", func() error {
			_, err := n.Output(l.app, "get", "http://127.0.0.1:9436/readyz")
			return err
		})
	}
}

// undisturbed: what is done costs the load no packet, but on ways where the plugin itself loses some.
func (l *layout) undisturbed(t *testing.T, name string, do func(), plugins ...string) {
	t.Helper()
	before, full := l.load.settled(t), overflown(t)
	begin := time.Now()
	do()
	took := time.Since(begin)
	sent, lost, ways := uint64(0), int64(0), ""
	for way, n := range l.load.settled(t) {
		sent += n.Sent - before[way].Sent
		if n := n.Lost - before[way].Lost; n != 0 {
			ways += fmt.Sprintf(", %d lost by way of %s", n, way)
			if !slices.Contains(plugins, way) {
				lost += n
			}
		}
	}
	l.sent += sent
	t.Logf("%s: %.1f s, %d packets sent%s", name, took.Seconds(), sent, ways)
	if full = overflown(t) - full; full > 0 && lost > 0 {
		t.Logf("%s: %d packets found queues of sockets or CPUs full: this machine stood still", name, full)
		lost = max(0, lost-int64(full))
	}
	l.lost += max(0, lost)
	if lost > 0 {
		t.Errorf("%s: %d packets were lost", name, lost)
	}
}

// story makes the queue of a device slow and lossy, which must be named; then it is mended.
func (l *layout) story(t *testing.T, device string) {
	t.Helper()
	n := l.nodes[1] // that of the answers, which are large
	l.healthy(t)
	if err := n.Run(strings.Fields("tc qdisc add dev " + device + " root tbf rate 2mbit burst 5kb limit 30kb")...); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	var r report
	until(t, time.Minute, "find the fault", func() (err error) {
		if r, err = diagnose(n); err != nil {
			return err
		}
		if r.Verdict != "fault" || r.Findings[0].Cause == starved {
			return fmt.Errorf("%s: %s", r.Verdict, r.Summary)
		}
		return nil
	})
	took := fmt.Sprintf("%.0f s", time.Since(begin).Seconds())
	t.Logf("%s, after %s: %s", device, took, r.Summary)
	first := r.Findings[0]
	if first.Device != device || first.Cause != "qdisc-delay" && first.Cause != "qdisc-drop" {
		t.Errorf("named is %s at %s", first.Cause, first.Device)
	}
	l.stories = append(l.stories, fmt.Sprintf("`%s` at `%s` after %s", first.Cause, first.Device, took))
	if err := n.Run("tc", "qdisc", "del", "dev", device, "root"); err != nil {
		t.Fatal(err)
	}
	l.healthy(t)
}
