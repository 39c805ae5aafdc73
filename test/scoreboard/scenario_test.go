package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestScenarios reads all of them: what is asked for must be there.
func TestScenarios(t *testing.T) {
	t.Parallel()
	all, err := loadScenarios(scenarioFiles)
	if err != nil {
		t.Fatal(err)
	}
	faults, healthy := 0, 0
	for _, s := range all {
		if s.healthy() {
			healthy++
		} else {
			faults++
		}
		for _, p := range s.playings(1, 5) {
			if _, err := p.drawCluster(); err != nil {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	if faults < 60 || healthy < 30 {
		t.Errorf("%d faults and %d healthy scenarios, want 60 and 30 at least", faults, healthy)
	}
}

func TestScenarioRefused(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"unknown key":      "about: x\nwhere: [host]\nexpect: {verdict: [healthy]}\nload: {speed: 5}\n",
		"nowhere":          "about: x\nexpect: {verdict: [healthy]}\n",
		"no verdict":       "about: x\nwhere: [host]\n",
		"fault not proven": "about: x\nwhere: [host]\nexpect: {verdict: [fault], findings: [{cause: ttl}]}\n",
		"unknown cause":    "about: x\nwhere: [host]\nreal: [{oracle: tcp.p50, least: 1}]\nexpect: {verdict: [fault], findings: [{cause: ttl|tll}]}\n",
		"unknown figure":   "about: x\nwhere: [host]\nreal: [{oracle: luck, least: 1}]\nexpect: {verdict: [healthy]}\n",
		"usual of nobody":  "about: x\nwhere: [host]\ndiagnose: {usual: {node2: 1ms}}\nexpect: {verdict: [healthy]}\n",
		"unknown traffic":  "about: x\nwhere: [host]\ntraffic: [{kind: jam, from: a, to: b}]\nexpect: {verdict: [healthy]}\n",
		"announced to one": "about: x\nwhere: [host]\ntraffic: [{kind: announce, from: a, to: b, what: [ra]}]\nexpect: {verdict: [healthy]}\n",
		"unknown news":     "about: x\nwhere: [host]\ntraffic: [{kind: announce, from: a, what: [cdp]}]\nexpect: {verdict: [healthy]}\n",
	} {
		if _, err := parseScenario("x", []byte(text)); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
}

// The same seed must give the same cluster, and another one another.
func TestDraw(t *testing.T) {
	t.Parallel()
	s, err := parseScenario("x", []byte("about: x\nwhere: [host]\ndraw: {delay: [100, 900], tool: [a, b]}\nexpect: {verdict: [healthy]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	draw := func(seed uint64) cluster {
		c, err := s.playings(seed, 1)[0].drawCluster()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, again, other := draw(1), draw(1), draw(2)
	if one.options.NodeNet != again.options.NodeNet || one.values["delay"] != again.values["delay"] {
		t.Errorf("seed 1 gives %+v and %+v", one, again)
	}
	if one.options.Name == other.options.Name {
		t.Errorf("seeds 1 and 2 give one name: %s", one.options.Name)
	}
	if text, err := one.fill("delay {delay}ms '{ type filter }'"); err != nil || strings.Contains(text, "{delay}") || !strings.Contains(text, "{ type filter }") {
		t.Errorf("fill = %q, %v", text, err)
	}
	if _, err := one.fill("{nothing}"); err == nil {
		t.Error("an unknown name is taken")
	}
}

// Shares are all runs together, none twice, and each about as large as the others.
func TestShares(t *testing.T) {
	t.Parallel()
	all, err := loadScenarios(scenarioFiles)
	if err != nil {
		t.Fatal(err)
	}
	var runs []playing
	for _, s := range all {
		if s.canRun(Guest) {
			runs = append(runs, s.playings(1, 5)...)
		}
	}
	var names []string
	for i := range 3 {
		var s share
		if err := s.Set(fmt.Sprintf("%d/3", i+1)); err != nil {
			t.Fatal(err)
		}
		part := s.of(runs)
		if len(part) < len(runs)/3 || len(part) > len(runs)/3+1 {
			t.Errorf("share %v has %d of %d runs", &s, len(part), len(runs))
		}
		for _, p := range part {
			names = append(names, p.String())
		}
	}
	slices.Sort(names)
	if distinct := slices.Compact(slices.Clone(names)); len(names) != len(runs) || len(distinct) != len(runs) {
		t.Errorf("%d runs, %d of them different, in shares of %d", len(names), len(distinct), len(runs))
	}
	if err := new(share).Set("4/3"); err == nil {
		t.Error("the fourth of three shares is taken")
	}
}

// What a guest prints is read again, whatever comes between.
func TestReadResults(t *testing.T) {
	t.Parallel()
	want := result{Run: "mtu", Expected: "x", Got: "y", Seconds: 1.5, Right: true, Tries: 2, Report: []byte("{}\n")}
	line, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var rest strings.Builder
	got, err := readResults(strings.NewReader("1s mtu\n"+resultMark+string(line)+"\nend"), &rest)
	if err != nil || len(got) != 1 || !reflect.DeepEqual(got[0], want) || rest.String() != "1s mtu\nend" {
		t.Errorf("%+v, %v; the rest %q", got, err, rest.String())
	}
	if mark := want.mark(); mark != "named, played 2 times" {
		t.Errorf("mark %q", mark)
	}
}

const oneReport = `{"schema_version":1,"verdict":"fault","findings":[
	{"kind":"drop","cause":"policy-drop","severity":"critical","stage":"forward","device":"pod","direction":"out",
	 "evidence":["3 of 5 packets were lost","rule 1 of chain FORWARD dropped 3 packets"],"next":["iptables -nvL FORWARD"]},
	{"kind":"delay","cause":"remote-delay","severity":"critical","stage":null,"device":null,"direction":null}]}`

func TestJudge(t *testing.T) {
	t.Parallel()
	r, err := parseReport([]byte(oneReport))
	if err != nil {
		t.Fatal(err)
	}
	word := func(s string) *string { return &s }
	policy := finding{Cause: word("policy-drop"), Stage: word("forward"), Device: word("cali1"), Direction: word("out")}
	remote := finding{Cause: word("remote-delay")}
	with := func(change func(*finding)) finding { f := policy; change(&f); return f }
	for name, c := range map[string]struct {
		want  []finding
		named bool
	}{
		"the pod's device":     {[]finding{policy}, true},
		"both":                 {[]finding{policy, remote}, true},
		"not the first":        {[]finding{remote}, false},
		"another cause":        {[]finding{with(func(f *finding) { f.Cause = word("ttl") })}, false},
		"another stage":        {[]finding{with(func(f *finding) { f.Stage = word("queue") })}, false},
		"another device":       {[]finding{with(func(f *finding) { f.Device = word("eth0") })}, false},
		"another direction":    {[]finding{with(func(f *finding) { f.Direction = word("in") })}, false},
		"no stage":             {[]finding{with(func(f *finding) { f.Stage = nil })}, false},
		"one of two stages":    {[]finding{with(func(f *finding) { f.Stage = word("forward|queue") })}, true},
		"what it says":         {[]finding{with(func(f *finding) { f.Says.re = regexp.MustCompile(`chain FORWARD dropped \d`) })}, true},
		"what it does not say": {[]finding{with(func(f *finding) { f.Says.re = regexp.MustCompile(`chain INPUT`) })}, false},
		"one of both is wrong": {[]finding{policy, with(func(f *finding) { f.Cause = word("ttl") })}, false},
	} {
		e := expectation{Verdict: []string{"fault"}, Findings: c.want}
		if got := e.named(r, []string{"cali1"}); got != c.named {
			t.Errorf("%s: named = %v", name, got)
		}
	}
	for named, want := range map[bool][]finding{true: {policy, remote}, false: {policy}} {
		if got := (expectation{Verdict: []string{"fault"}, Findings: want, Alone: true}).named(r, []string{"cali1"}); got != named {
			t.Errorf("%d of two, alone: named = %v", len(want), got)
		}
	}
	if !(expectation{Verdict: []string{"healthy"}}).alarms(r) {
		t.Error("a fault is no alarm")
	}
	if e := (expectation{Verdict: []string{"fault"}, Never: []string{"ttl"}}); e.alarms(r) {
		t.Error("a cause that is not named is an alarm")
	}
	if e := (expectation{Verdict: []string{"fault"}, Never: []string{"remote-delay"}}); !e.alarms(r) {
		t.Error("a cause that may not be named is no alarm")
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	r, err := parseReport([]byte(oneReport))
	if err != nil {
		t.Fatal(err)
	}
	cause := "policy-drop"
	stage, device := "forward", "pod"
	fault := &scenario{Name: "f", Expect: expectation{Verdict: []string{"fault"}, Findings: []finding{{Cause: &cause, Stage: &stage, Device: &device}}}}
	silent := &scenario{Name: "h", Expect: expectation{Verdict: []string{"healthy"}}}
	of := func(s *scenario, r said) result {
		o := outcome{playing: playing{scenario: s}, expected: s.Expect, said: r, took: time.Second}
		return o.result()
	}
	all := slices.Repeat([]result{of(fault, r)}, 9)
	all = append(all, of(fault, said{Verdict: "healthy"}), of(silent, said{Verdict: "healthy"}))
	s := count(all)
	var text strings.Builder
	s.write(&text)
	if want := "scoreboard: 9/10 faults named, 0/1 false alarms\n"; text.String() != want || !s.ok() {
		t.Errorf("%q, ok %v, want %q", text.String(), s.ok(), want)
	}
	if s := count(append(all, of(silent, r))); s.alarms != 1 || s.ok() {
		t.Errorf("a false alarm: %+v", s)
	}
	if s := count(append(all, of(fault, said{Verdict: "healthy"}))); s.ok() {
		t.Errorf("9 of 11: %+v", s)
	}
}

// The end of a long log is all that some see of it: it must say which runs were wrong, and why.
func TestTableSaysWhy(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	writeTable(&text, []result{
		{Run: "healthy-dns", Healthy: true, Expected: "healthy", Got: "policy-drop forward pod out", Report: []byte(oneReport)},
		{Run: "ttl", Expected: "ttl", Got: "ttl", Right: true, Report: []byte(oneReport)},
		{Run: "rp-filter", Expected: "rp-filter", Error: "it was not played as it should"},
	})
	_, below, _ := strings.Cut(text.String(), "\n\n")
	for _, want := range []string{
		"healthy-dns: FALSE ALARM: expected healthy, got policy-drop forward pod out\n",
		"  critical: policy-drop forward pod out\n    3 of 5 packets were lost\n",
		"rp-filter: ERROR: expected rp-filter, got nothing\n  it was not played as it should\n",
	} {
		if !strings.Contains(below, want) {
			t.Errorf("below the table: %q, want %q", below, want)
		}
	}
	if strings.Contains(below, "ttl") {
		t.Errorf("below the table: %q, want nothing of what was right", below)
	}
}
