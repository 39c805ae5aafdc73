package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	httpconfig "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/config"
	"github.com/prometheus/prometheus/discovery/targetgroup"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/scrape"
	"github.com/prometheus/prometheus/util/teststorage"
	"golang.org/x/sys/unix"
)

var program = flag.String("tracer", "../../build/tracer", "the program whose agents are scraped")

const (
	labName = "mixin"
	// metricsPort is where the agents of the lab are scraped, each in the network namespace of its node.
	metricsPort = 9435
	// patience is how long an alert may take to fire. The machine may be slow; nothing waits for it when it does.
	patience = 2 * time.Minute
)

// quicker is the rules with all times a tenth or less: what takes minutes in a cluster is to take seconds here.
var quicker = strings.NewReplacer("[5m]", "[30s]", "[2m]", "[15s]", "interval: 1m", "interval: 2s", "for: 3m", "for: 8s", "for: 10m", "for: 25s")

// liveLab is two nodes on this machine, each with an agent.
type liveLab struct {
	testing.TB
	dir   string
	state struct {
		Device string `json:"overlay_device"`
		Nodes  []struct{ Name, Netns string }
		Pods   []struct{ Name, Address string }
	}
}

func newLiveLab(t testing.TB) *liveLab {
	t.Helper()
	l := &liveLab{TB: t, dir: t.TempDir()}
	t.Cleanup(func() { l.run(*program, "lab", "down", "--name", labName, "--run-dir", l.dir) })
	text := l.run(*program, "lab", "up", "--name", labName, "--run-dir", l.dir, "-o", "json")
	if err := json.Unmarshal([]byte(text), &l.state); err != nil {
		t.Fatalf("read the lab: %v: %s", err, text)
	}
	for _, n := range l.state.Nodes {
		agent := exec.Command("ip", "netns", "exec", n.Netns, *program, "agent", "--run-dir", l.dir, "--state-dir=", "--node-name", n.Name,
			"--listen", fmt.Sprintf("127.0.0.1:%d", metricsPort), "--health-listen", "127.0.0.1:0")
		agent.Stderr = t.Output()
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = agent.Process.Signal(syscall.SIGTERM)
			_ = agent.Wait()
		})
	}
	return l
}

// run runs a command to its end.
func (l *liveLab) run(name string, args ...string) string {
	l.Helper()
	out, err := exec.Command(name, args...).Output()
	if err != nil {
		var stderr []byte
		if exit, ok := err.(*exec.ExitError); ok {
			stderr = exit.Stderr
		}
		l.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, stderr)
	}
	return string(out)
}

// on runs a command on a node, with the addresses of the lab in it.
func (l *liveLab) on(node, command string) {
	l.Helper()
	fill := []string{"{overlay}", l.state.Device}
	for _, p := range l.state.Pods {
		fill = append(fill, "{"+p.Name+"}", p.Address)
	}
	l.run("ip", append([]string{"netns", "exec", labName + "-" + node}, "sh", "-c", strings.NewReplacer(fill...).Replace(command))...)
}

// dial reaches a node's agent: targets are called NODE:PORT.
func (l *liveLab) dial(ctx context.Context, network, address string) (net.Conn, error) {
	node, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		ns, err := os.Open(filepath.Join("/run/netns", labName+"-"+node))
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err != nil {
			done <- result{nil, err}
			return
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, fmt.Sprintf("127.0.0.1:%d", metricsPort))
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// live is a Prometheus that scrapes the lab, and evaluates the rules.
type live struct {
	testing.TB
	storage *teststorage.TestStorage
	engine  *promql.Engine
	rules   *promrules.Manager
}

func newLive(t testing.TB, l *liveLab) *live {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	p := &live{TB: t, storage: teststorage.New(t), engine: promqltest.NewTestEngine(t, false, 0, 1e6)}
	silent := promslog.NewNopLogger()
	scraper, err := scrape.NewManager(&scrape.Options{HTTPClientOptions: []httpconfig.HTTPClientOption{httpconfig.WithDialContextFunc(l.dial)}, DiscoveryReloadOnStartup: true},
		silent, nil, nil, p.storage, prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load("global: {scrape_interval: 2s, scrape_timeout: 2s}\nscrape_configs: [{job_name: tracer, scrape_native_histograms: true, static_configs: []}]\n", silent)
	if err != nil {
		t.Fatal(err)
	}
	if err := scraper.ApplyConfig(c); err != nil {
		t.Fatal(err)
	}
	group := &targetgroup.Group{Source: "lab"}
	for _, n := range l.state.Nodes {
		group.Targets = append(group.Targets, model.LabelSet{
			model.AddressLabel: model.LabelValue(fmt.Sprintf("%s:%d", n.Name, metricsPort)), "node": model.LabelValue(n.Name),
		})
	}
	targets := make(chan map[string][]*targetgroup.Group, 1)
	targets <- map[string][]*targetgroup.Group{"tracer": {group}}
	scraped := make(chan error, 1)
	go func() { scraped <- scraper.Run(targets) }()

	text, err := rulesFile()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, []byte(quicker.Replace(string(text))), 0o600); err != nil {
		t.Fatal(err)
	}
	p.rules = promrules.NewManager(&promrules.ManagerOptions{
		QueryFunc: promrules.EngineQueryFunc(p.engine, p.storage), AppendableV2: p.storage, Queryable: p.storage, Context: ctx,
		NotifyFunc: func(context.Context, string, ...*promrules.Alert) {}, Logger: silent, Parser: parser.NewParser(parser.Options{}),
	})
	if err := p.rules.Update(2*time.Second, []string{file}, labels.EmptyLabels(), "", nil); err != nil {
		t.Fatal(err)
	}
	go p.rules.Run()
	t.Cleanup(func() {
		p.rules.Stop()
		scraper.Stop()
		<-scraped
		stop()
	})
	return p
}

// alerts are those that fire, or are to.
func (p *live) alerts(states ...promrules.AlertState) map[string]string {
	out := map[string]string{}
	for _, r := range p.rules.AlertingRules() {
		if err := r.LastError(); err != nil {
			p.Errorf("%s: %v", r.Name(), err)
		}
		for _, a := range r.ActiveAlerts() {
			if slices.Contains(states, a.State) {
				out[r.Name()] = a.Labels.String()
			}
		}
	}
	return out
}

// ofTooLittleCPU are causes that are rightly found on a machine that has too little CPU for a while.
var ofTooLittleCPU = []string{"receiver-slow", "server-slow", "softirq-delay", "forward-delay", "encap-delay"}

// await waits until something holds.
func (p *live) await(what string, holds func() bool) {
	p.Helper()
	for until := time.Now().Add(patience); !holds(); time.Sleep(250 * time.Millisecond) {
		if time.Now().After(until) {
			p.Fatalf("%s did not come; these alerts are active: %v", what, p.alerts(promrules.StateFiring, promrules.StatePending))
		}
	}
}

// has tells whether a query gives data, as a panel asks it.
func (p *live) has(text string) bool {
	p.Helper()
	text = strings.NewReplacer("$node", ".*", "$instance", ".*", "$src", "web", "$dst", "api", "[5m]", "[30s]").Replace(text)
	q, err := p.engine.NewInstantQuery(p.Context(), p.storage, nil, text, time.Now())
	if err != nil {
		p.Fatalf("%s: %v", text, err)
	}
	defer q.Close()
	v, err := q.Exec(p.Context()).Vector()
	if err != nil {
		p.Fatalf("%s: %v", text, err)
	}
	return len(v) > 0
}

// TestLive has a Prometheus scrape the agents of two nodes, with the rules loaded: nothing fires while all is well, but for what comes of too
// little CPU, and not for long; in each of four faults the alert of its kind fires, and over all every panel of the dashboards has had data.
func TestLive(t *testing.T) {
	l := newLiveLab(t)
	p := newLive(t, l)
	missing := map[string]string{} // panels without data, and their queries
	for _, b := range boards() {
		for _, panel := range b.panels {
			missing[b.title+": "+panel.title] = panel.expr
		}
	}
	look := func() {
		for name, expr := range missing {
			if p.has(expr) {
				delete(missing, name)
			}
		}
	}
	fires := func(alerts ...string) func() bool {
		return func() bool {
			look()
			firing := p.alerts(promrules.StateFiring)
			return !slices.ContainsFunc(alerts, func(a string) bool { return firing[a] == "" })
		}
	}
	began := time.Now()
	p.await("traffic that both agents count", func() bool {
		return p.has(`count(count by (node) (rate(tracer_packets_total[5m]) > 0)) == 2`)
	})
	// As long as any alert waits before it fires, and some evaluations more.
	const longest = 35 * time.Second
	healthy, excused := time.Now().Add(longest), map[string]bool{}
	p.await("health", func() bool {
		look()
		for _, r := range p.rules.AlertingRules() {
			for _, a := range r.ActiveAlerts() {
				switch {
				case a.State != promrules.StateFiring:
				case r.Name() == "TracerDown", slices.Contains(ofTooLittleCPU, a.Labels.Get("cause")):
					if text := r.Name() + a.Labels.String(); !excused[text] {
						excused[text] = true
						t.Logf("while all is well %s fires: %s", r.Name(), a.Labels)
					}
				default:
					t.Fatalf("while all is well %s fires: %s", r.Name(), a.Labels)
				}
			}
		}
		return time.Now().After(healthy) && len(p.alerts(promrules.StateFiring)) == 0
	})
	for _, fault := range []struct {
		what   string
		do     func()
		undo   func()
		alerts []string
	}{
		{
			"a slow queue", func() {
				l.run(*program, "lab", "fault", "--name", labName, "--run-dir", l.dir, "--delay", "500ms", "--rate", "50kbit", "--loss", "10%")
			},
			func() { l.run(*program, "lab", "heal", "--name", labName, "--run-dir", l.dir) }, []string{"TracerQueue"},
		},
		{
			"a policy on the other node", func() { l.on("node2", "iptables -w -I FORWARD -d {api} -j DROP") },
			func() { l.on("node2", "iptables -w -D FORWARD -d {api} -j DROP") }, []string{"TracerPolicy", "TracerRemote"},
		},
		{
			"no route", func() { l.on("node1", "ip route add unreachable {api}/32") },
			func() { l.on("node1", "ip route del unreachable {api}/32") }, []string{"TracerRouting"},
		},
		{
			"a link that is down", func() { l.on("node1", "ip link set {overlay} down") }, func() {}, []string{"TracerLink"},
		},
	} {
		from := time.Now()
		fault.do()
		p.await(fmt.Sprintf("%s for %s", fault.alerts, fault.what), fires(fault.alerts...))
		t.Logf("%s: %v fired after %v; active: %v", fault.what, fault.alerts, time.Since(from).Round(time.Second), slices.Sorted(maps.Keys(p.alerts(promrules.StateFiring))))
		fault.undo()
	}
	t.Logf("%v in all", time.Since(began).Round(time.Second))
	// A hook that is not up nobody has made here: that all are up is what there is to show.
	const hooks = "tracer / agents: Hooks that are not up"
	if missing[hooks] != "" && p.has(`count(tracer_hook_up == 1) > 0`) {
		delete(missing, hooks)
	}
	for name, expr := range missing {
		t.Errorf("%s has no data: %s", name, expr)
	}
}

// TestMain silences what Prometheus logs of a scrape that is cut short.
func TestMain(m *testing.M) {
	slog.SetDefault(slog.New(slog.DiscardHandler))
	os.Exit(m.Run())
}
