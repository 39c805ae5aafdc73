package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	promrules "github.com/prometheus/prometheus/rules"
	"github.com/prometheus/prometheus/util/teststorage"
)

// exposition is what an agent really exports: the goldens of its collector, with classic buckets too.
const exposition = "../../internal/export/metrics/testdata/"

// sample is a line of an exposition.
var sample = regexp.MustCompile(`^([a-z_]+)(?:\{(.*)\})? (\S+)$`)

// exported are the lines of the agent's exposition, each once.
func exported(t *testing.T) (lines [][]string) {
	t.Helper()
	seen := map[string]bool{}
	for _, file := range []string{"metrics.txt", "classic_pairs.txt"} {
		text, err := os.ReadFile(exposition + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			m := sample.FindStringSubmatch(strings.TrimSpace(line))
			if m == nil || seen[m[1]+m[2]] {
				continue
			}
			seen[m[1]+m[2]] = true
			lines = append(lines, m)
		}
	}
	// Of the process, which the collector's goldens leave out: TestExposition says that they are there.
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes"} {
		lines = append(lines, []string{"", name, "", "1"})
	}
	if len(lines) < 50 {
		t.Fatalf("%d samples in %s", len(lines), exposition)
	}
	return lines
}

// load is the load command of promqltest for a series of a quarter of an hour: of a counter it grows by its value each minute.
func load(name, pairs, value string) string {
	if pairs != "" {
		pairs += ","
	}
	values := value + "x15"
	if regexp.MustCompile(`_(total|sum|count|bucket)$`).MatchString(name) {
		values = "0+" + value + "x15"
	}
	return fmt.Sprintf("  %s{%snode=\"node1\",instance=\"10.0.0.1:9435\"} %s\n", name, pairs, values)
}

// prom is a Prometheus with the rules, and what it has scraped.
type prom struct {
	storage *teststorage.TestStorage
	engine  *promql.Engine
	groups  []*promrules.Group
}

// newProm is one a quarter of an hour after its start: the rules have been evaluated each minute.
func newProm(t *testing.T, series string) *prom {
	t.Helper()
	p := &prom{storage: promqltest.LoadedStorage(t, "load 1m\n"+series), engine: promqltest.NewTestEngine(t, false, 0, 1e6)}
	text, err := rulesFile()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	m := promrules.NewManager(&promrules.ManagerOptions{
		QueryFunc: promrules.EngineQueryFunc(p.engine, p.storage), AppendableV2: p.storage, Queryable: p.storage, Context: t.Context(),
		NotifyFunc: func(context.Context, string, ...*promrules.Alert) {}, Logger: promslog.NewNopLogger(), Parser: parser.NewParser(parser.Options{}),
	})
	groups, errs := m.LoadGroups(time.Minute, labels.EmptyLabels(), "", nil, false, file)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	for _, g := range rules().Groups {
		p.groups = append(p.groups, groups[promrules.GroupKey(file, g.Name)])
	}
	for minute := range 16 {
		for _, g := range p.groups {
			g.Eval(t.Context(), time.Unix(0, 0).Add(time.Duration(minute)*time.Minute))
			for _, r := range g.Rules() {
				if r.LastError() != nil {
					t.Fatalf("%s: %v", r.Name(), r.LastError())
				}
			}
		}
	}
	return p
}

// firing are the alerts that fire.
func (p *prom) firing() (alerts []*promrules.Alert) {
	for _, g := range p.groups {
		for _, r := range g.AlertingRules() {
			for _, a := range r.ActiveAlerts() {
				if a.State == promrules.StateFiring {
					alerts = append(alerts, a)
				}
			}
		}
	}
	return alerts
}

// query is what a query gives now.
func (p *prom) query(t *testing.T, text string) promql.Vector {
	t.Helper()
	q, err := p.engine.NewInstantQuery(t.Context(), p.storage, nil, text, time.Unix(900, 0))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	defer q.Close()
	v, err := q.Exec(t.Context()).Vector()
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return slices.Clone(v)
}

// agent is what an agent exports, without those that except names. Histograms are native ones too.
func agent(t *testing.T, except ...string) string {
	var series strings.Builder
	for _, m := range exported(t) {
		if slices.Contains(except, m[1]) {
			continue
		}
		series.WriteString(load(m[1], m[2], m[3]))
		name, isBucket := strings.CutSuffix(m[1], "_bucket")
		if pairs, isAll := strings.CutSuffix(m[2], `le="+Inf"`); isBucket && isAll {
			series.WriteString(load(name, strings.TrimSuffix(pairs, ","), native))
		}
	}
	return series.String()
}

// native is a native histogram that grows by ten observations a minute.
const native = "{{schema:3 sum:1 count:10 buckets:[10] offset:0}}+{{schema:3 sum:1 count:10 buckets:[10] offset:0}}"

// healthy is an agent that has found nothing and sees all.
func healthy(t *testing.T) string {
	return agent(t, "tracer_finding", "tracer_hook_up", "tracer_coverage_ratio", "tracer_records_lost_total") +
		load("tracer_hook_up", `hook="egress",device="tunl0"`, "1") + load("tracer_coverage_ratio", `device="eth0",direction="out"`, "1") +
		load("tracer_records_lost_total", `kind="journey"`, "0")
}

// TestPanelsHaveData asks every query of every dashboard of what an agent exports. Every label that a legend or a variable names is
// there.
func TestPanelsHaveData(t *testing.T) {
	p := newProm(t, agent(t))
	fill := strings.NewReplacer("$node", "node1", "$instance", ".*", "$src", ".*", "$dst", ".*")
	word := regexp.MustCompile(`\{\{(\w+)\}\}`)
	for _, b := range boards() {
		for _, panel := range b.panels {
			query := fill.Replace(panel.expr)
			data := p.query(t, query)
			if len(data) == 0 {
				t.Errorf("%s: %q has no data: %s", b.title, panel.title, query)
			}
			for _, d := range data {
				if math.IsNaN(d.F) {
					t.Errorf("%s: %q is no number: %s", b.title, panel.title, query)
				}
			}
			for _, l := range word.FindAllStringSubmatch(panel.legend, -1) {
				if !slices.ContainsFunc(data, func(s promql.Sample) bool { return s.Metric.Get(l[1]) != "" }) {
					t.Errorf("%s: %q has no label %s", b.title, panel.title, l[1])
				}
			}
		}
		for _, v := range b.variables {
			if len(p.query(t, fmt.Sprintf(`count by (%s) (%s) > 0`, v.label, fill.Replace(v.metric)))) == 0 {
				t.Errorf("%s: variable %s has no value", b.title, v.name)
			}
		}
	}
}

// TestQueriesNameWhatIsExported: every metric and every label in a query is one that the agent exports, a recorded one, or one that
// Prometheus gives each target.
func TestQueriesNameWhatIsExported(t *testing.T) {
	t.Parallel()
	known := map[string]map[string]bool{}
	add := func(metric string, names ...string) {
		if known[metric] == nil {
			known[metric] = map[string]bool{"node": true, "instance": true, "job": true, "cluster": true}
		}
		for _, n := range names {
			known[metric][n] = true
		}
	}
	add("up")
	label := regexp.MustCompile(`(\w+)="`)
	for _, m := range exported(t) {
		for _, base := range []string{m[1], strings.TrimSuffix(m[1], "_bucket")} { // a native histogram has its own name
			add(base)
			for _, l := range label.FindAllStringSubmatch(m[2], -1) {
				add(base, l[1])
			}
		}
	}
	parse := parser.NewParser(parser.Options{})
	check := func(what, text string) (out []string) {
		expr, err := parse.ParseExpr(strings.NewReplacer("$node", "x", "$instance", "x", "$src", "x", "$dst", "x").Replace(text))
		if err != nil {
			t.Errorf("%s: %v", what, err)
			return nil
		}
		parser.Inspect(expr, func(n parser.Node, _ []parser.Node) error {
			switch n := n.(type) {
			case *parser.VectorSelector:
				if known[n.Name] == nil {
					t.Errorf("%s: no agent exports %s", what, n.Name)
					return nil
				}
				for _, m := range n.LabelMatchers {
					if m.Name != "__name__" && !known[n.Name][m.Name] {
						t.Errorf("%s: %s has no label %s", what, n.Name, m.Name)
					}
				}
			case *parser.AggregateExpr:
				out = append(out, n.Grouping...)
				for _, selector := range parser.ExtractSelectors(n.Expr) {
					for _, m := range selector {
						if m.Name != "__name__" {
							continue
						}
						for _, l := range n.Grouping {
							if known[m.Value] != nil && !known[m.Value][l] {
								t.Errorf("%s: %s has no label %s", what, m.Value, l)
							}
						}
					}
				}
			}
			return nil
		})
		return out
	}
	for _, g := range rules().Groups {
		for _, r := range g.Rules {
			by := check(r.Record+r.Alert, r.Expr)
			if r.Record != "" {
				add(r.Record, by...)
			}
		}
	}
	for _, b := range boards() {
		for _, p := range b.panels {
			check(b.title+": "+p.title, p.expr)
		}
	}
}

// TestEveryCauseHasItsAlert lets each cause with a page be found: one alert fires, of one family, and its runbook is that page. An
// info finding, and none at all, fire nothing.
func TestEveryCauseHasItsAlert(t *testing.T) {
	pages, err := filepath.Glob("../../docs/causes/*.md")
	if err != nil || len(pages) < 20 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	series, causes := healthy(t), map[string]string{}
	for _, page := range pages {
		cause := strings.TrimSuffix(filepath.Base(page), ".md")
		if cause == "README" || cause == "wire" || cause == "requests-slow" { // kubectl tracer alone finds the one, and the other is never more than info
			continue
		}
		for _, f := range families() {
			if slices.Contains(f.causes, cause) {
				if causes[cause] != "" {
					t.Errorf("%s is in two families", cause)
				}
				causes[cause] = f.alert
			}
		}
		if causes[cause] == "" {
			t.Errorf("%s is in no family", cause)
		}
		series += load("tracer_finding", fmt.Sprintf(`cause=%q,stage="queue",device="tunl0",direction="out",severity="critical"`, cause), "1")
		series += load("tracer_finding", fmt.Sprintf(`cause=%q,stage="queue",device="eth1",direction="out",severity="info"`, cause), "1")
	}
	for _, f := range families() {
		for _, c := range f.causes {
			if causes[c] == "" {
				t.Errorf("%s of %s has no page", c, f.alert)
			}
		}
	}
	fired := newProm(t, series).firing()
	if len(fired) != len(causes) {
		t.Errorf("%d alerts fire for %d causes", len(fired), len(causes))
	}
	for _, a := range fired {
		cause := a.Labels.Get("cause")
		if a.Labels.Get("alertname") != causes[cause] || a.Labels.Get("device") != "tunl0" || a.Labels.Get("node") != "node1" || a.Labels.Get("severity") != "critical" {
			t.Errorf("%s fires for %s", a.Labels, cause)
		}
		if got := a.Annotations.Get("runbook_url"); got != runbooks+"/"+cause+".md" {
			t.Errorf("%s: the runbook is %s", cause, got)
		}
		if s := a.Annotations.Get("summary") + a.Annotations.Get("description"); !strings.Contains(s, "node1") || strings.Contains(s, "{{") || strings.Contains(s, "error") {
			t.Errorf("%s: %s", cause, s)
		}
	}
	if fired := newProm(t, healthy(t)).firing(); len(fired) != 0 {
		t.Errorf("these fire in health: %v", fired)
	}
}

// TestAgentAlerts lets each alert about the agents themselves fire alone.
func TestAgentAlerts(t *testing.T) {
	for want, series := range map[string]string{
		"TracerBlind":       healthy(t) + load("tracer_coverage_ratio", `device="pod",direction="in"`, "0.2"),
		"TracerHookMissing": healthy(t) + load("tracer_hook_up", `hook="ingress",device="pod"`, "0"),
		"TracerRecordsLost": healthy(t) + load("tracer_records_lost_total", `kind="drop"`, "1000000"),
		"TracerAbsent":      load("up", "", "0"),
		"TracerDown": healthy(t) + `  tracer_build_info{job="tracer",node="node2",instance="i",version="v1"} 1 _x15` + "\n" +
			`  up{job="tracer",node="node2",instance="i"} 0x15` + "\n" + `  up{job="other",node="node3",instance="j"} 0x15` + "\n",
	} {
		var names []string
		for _, a := range newProm(t, series).firing() {
			names = append(names, a.Labels.Get("alertname"))
		}
		if !slices.Equal(names, []string{want}) {
			t.Errorf("%v fire, want %s", names, want)
		}
	}
}

// TestFindingOfBothSeverities: one that is warning and critical by turns, a minute each, alerts.
func TestFindingOfBothSeverities(t *testing.T) {
	const series = `  tracer_finding{cause="qdisc-drop",stage="queue",device="tunl0",direction="out",node="a",instance="i",severity=%q} %s` + "\n"
	turns := func(first, second string) string { return strings.Repeat(first+" "+second+" ", 8) }
	fired := newProm(t, healthy(t)+fmt.Sprintf(series, "warning", turns("1", "stale"))+fmt.Sprintf(series, "critical", turns("stale", "1"))).firing()
	if len(fired) == 0 {
		t.Error("no alert fires")
	}
}

// TestNoNaN: where Prometheus does not scrape native histograms, pairs have no quantile, and none that is no number.
func TestNoNaN(t *testing.T) {
	p := newProm(t, healthy(t)+`  tracer_path_delay_seconds_bucket{src_namespace="a",src_workload="b",dst_namespace="a",dst_workload="c",direction="out",le="+Inf",node="a",instance="i"} 0+10x15`+"\n")
	for _, s := range p.query(t, `{__name__=~"pair:.*|node:.*|tracer:.*"}`) {
		if math.IsNaN(s.F) {
			t.Errorf("%s is no number", s.Metric)
		}
	}
}

// TestNativeHistograms: a quantile is that of native histograms too, where Prometheus scrapes no other.
func TestNativeHistograms(t *testing.T) {
	p := newProm(t, `  tracer_device_stage_delay_seconds{stage="queue",device="tunl0",direction="out",node="a",instance="i"} `+native+"x15\n")
	if n := p.query(t, `tracer:stage_delay_seconds:p99{stage="queue",device="tunl0",direction="out"} > 0`); len(n) != 1 {
		t.Errorf("%v", n)
	}
}

// TestGenerated: the files in the chart are what this program writes.
func TestGenerated(t *testing.T) {
	t.Parallel()
	if err := run("../../deploy/helm/tracer/mixin", true); err != nil {
		t.Error(err)
	}
}
