package cluster

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
)

// scenario is what the nodes of a cluster say, and what is to be said of it.
type scenario struct {
	About    string            `yaml:"about"`
	Places   map[string]string `yaml:"places"` // by address: namespace/workload@node, or @node
	Zones    map[string]string `yaml:"zones"`
	NotAsked string            `yaml:"not_asked"`
	Healthy  int               `yaml:"healthy"`  // so many more nodes, which are healthy
	Cordoned []string          `yaml:"cordoned"` // nodes
	Nodes    []struct {
		Name     string    `yaml:"name"`
		Error    string    `yaml:"error"`
		Verdict  string    `yaml:"verdict"`
		Findings []finding `yaml:"findings"`
		Served   []string  `yaml:"served"` // pairs, with their requests, that it has answered
		Later    string    `yaml:"later"`  // than the others it has answered
		Took     string    `yaml:"took"`   // the answer
		Window   float64   `yaml:"window"` // seconds; 0: 15
		OneIn    float64   `yaml:"one_in"` // so many connections are watched; 0: all
	} `yaml:"nodes"`
	Want struct {
		Verdict  string    `yaml:"verdict"`
		Summary  string    `yaml:"summary"`
		Findings []finding `yaml:"findings"`
		Cordon   *struct { // if SuggestCordon is to be asked
			Nodes    []string `yaml:"nodes"`
			HeldBack []string `yaml:"held_back"`
			Out      []string `yaml:"out"`
			Why      string   `yaml:"why"`
		} `yaml:"cordon"`
	} `yaml:"want"`
}

// finding is one in short. Its pairs are "web 10.1.0.2 > api 10.2.0.3", with the names and addresses that the node knows; and, of requests,
// how many there are a second, how long the quickest take and half of them, what of that the node accounts for and what is usual, in ms:
// "… : 200 10.1 10.3 0.1 2".
type finding struct {
	Cause    string   `yaml:"cause"`
	Severity string   `yaml:"severity"`
	Kind     string   `yaml:"kind"`
	Stage    string   `yaml:"stage"`
	Device   string   `yaml:"device"`
	Text     string   `yaml:"text"`
	Pairs    []string `yaml:"pairs"`
	Nodes    []string `yaml:"nodes"`
	Seen     []string `yaml:"seen"`  // node: cause
	Total    int      `yaml:"total"` // of its pairs; 0: as many as are named
	Role     string   `yaml:"role"`  // of its device
	Held     string   `yaml:"held"`  // for how long the agent has followed it
	Delay    string   `yaml:"delay"` // p50
	Says     string   `yaml:"says"`  // in its evidence
}

func (f *finding) as(t *testing.T) diagnose.Finding {
	d := diagnose.Finding{
		Cause: diagnose.Cause(f.Cause), Severity: diagnose.Severity(f.Severity), Kind: diagnose.Kind(f.Kind), Stage: journey.Stage(f.Stage),
		Device: f.Device, Text: f.Text,
	}
	if took, err := time.ParseDuration(strings.ReplaceAll(f.Delay, " ", "")); err == nil {
		d.Delay = &diagnose.Delay{P50: new(took.Seconds())}
	}
	d.PairsTotal = max(f.Total, len(f.Pairs))
	for _, p := range f.Pairs {
		d.Pairs = append(d.Pairs, pairOf(t, p))
	}
	return d
}

// pairOf reads a pair.
func pairOf(t *testing.T, text string) diagnose.Pair {
	ends, requests, timed := strings.Cut(text, " : ")
	words := strings.Fields(strings.Replace(ends, ">", " ", 1))
	if len(words) != 4 {
		t.Fatalf("pair %q", text)
	}
	p := diagnose.Pair{
		Src: words[0], Dst: words[2], Addresses: &diagnose.PairAddresses{Src: netip.MustParseAddr(words[1]), Dst: netip.MustParseAddr(words[3])},
	}
	if !timed {
		return p
	}
	var perSecond, least, p50, here, usual float64
	p.Requests = &diagnose.RequestTimes{}
	switch n, _ := fmt.Sscan(requests, &perSecond, &least, &p50, &here, &usual); n {
	case 5:
		p.Requests.Here, p.Requests.Usual = here/1000, new(usual/1000)
	case 3:
	default:
		t.Fatalf("requests %q", requests)
	}
	p.Requests.PerSecond, p.Requests.Least, p.Requests.P50 = perSecond, least/1000, p50/1000
	return p
}

// durationOf reads a duration; "" is none.
func durationOf(t *testing.T, text string) time.Duration {
	d, err := time.ParseDuration(cmp.Or(text, "0"))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// held is the finding as its agent has followed it.
func (f *finding) held(t *testing.T) Held {
	h := Held{Finding: f.as(t), Critical: durationOf(t, f.Held)}
	if err := h.Role.UnmarshalText([]byte(cmp.Or(f.Role, "other"))); err != nil {
		t.Fatal(err)
	}
	return h
}

func TestMerge(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var s scenario
			d := yaml.NewDecoder(bytes.NewReader(data))
			d.KnownFields(true)
			if err := d.Decode(&s); err != nil {
				t.Fatal(err)
			}
			play(t, &s)
		})
	}
}

func play(t *testing.T, s *scenario) {
	m := Map{Places: map[netip.Addr]Place{}, Zones: s.Zones, Unschedulable: map[string]bool{}}
	for _, n := range s.Cordoned {
		m.Unschedulable[n] = true
	}
	for address, at := range s.Places {
		who, node, _ := strings.Cut(at, "@")
		namespace, workload, _ := strings.Cut(who, "/")
		m.Places[netip.MustParseAddr(address)] = Place{namespace, workload, node}
	}
	var answers []Answer
	for _, n := range s.Nodes {
		a := Answer{Node: n.Name}
		if n.Error != "" {
			a.Err = errors.New(n.Error)
		} else {
			a.Report = &diagnose.Report{Node: n.Name, WindowSeconds: cmp.Or(n.Window, 15), Verdict: diagnose.Verdict(n.Verdict)}
			a.Asked = a.Asked.Add(durationOf(t, n.Later))
			a.At = a.Asked.Add(durationOf(t, n.Took))
			timed := func(pairs []diagnose.Pair) {
				for _, p := range pairs {
					if p.Requests != nil {
						p.Requests.Timed = uint64(p.Requests.PerSecond * a.Report.WindowSeconds / cmp.Or(n.OneIn, 1))
					}
				}
			}
			for _, p := range n.Served {
				a.Report.Served = append(a.Report.Served, pairOf(t, p))
			}
			timed(a.Report.Served)
			for _, f := range n.Findings {
				a.Report.Findings = append(a.Report.Findings, f.as(t))
				timed(a.Report.Findings[len(a.Report.Findings)-1].Pairs)
				if f.Held != "" {
					a.Held = append(a.Held, f.held(t))
				}
			}
		}
		answers = append(answers, a)
	}
	for i := range s.Healthy {
		name := fmt.Sprintf("other-%d", i)
		answers = append(answers, Answer{Node: name, Report: &diagnose.Report{Node: name, WindowSeconds: 15, Verdict: diagnose.Healthy}})
	}
	r := Merge(answers, m, s.NotAsked)
	if string(r.Verdict) != s.Want.Verdict || r.Summary != s.Want.Summary {
		t.Errorf("got  %s: %s\nwant %s: %s", r.Verdict, r.Summary, s.Want.Verdict, s.Want.Summary)
	}
	if want := s.Want.Cordon; want != nil {
		c := SuggestCordon(&r, answers, m)
		names := func(list []Suspect) (names []string) {
			for _, x := range list {
				names = append(names, x.Node)
			}
			return names
		}
		if !slices.Equal(names(c.Nodes), want.Nodes) || !slices.Equal(names(c.HeldBack), want.HeldBack) || !slices.Equal(c.Out, want.Out) ||
			c.Why != want.Why || len(c.Nodes)+len(c.Out) > max(len(c.Out), len(r.Nodes)/10) {
			t.Errorf("to cordon: %+v, want %+v", c, *want)
		}
	}
	if len(r.Findings) != len(s.Want.Findings) {
		t.Fatalf("%d findings, want %d: %+v", len(r.Findings), len(s.Want.Findings), r.Findings)
	}
	for i, want := range s.Want.Findings {
		got := &r.Findings[i]
		f := &got.Finding
		if string(f.Cause) != want.Cause || f.Device != want.Device || string(f.Severity) != want.Severity || !slices.Equal(got.Nodes, want.Nodes) {
			t.Errorf("finding %d: got %s at %q, %s, on %v; want %s at %q, %s, on %v", i, f.Cause, f.Device, f.Severity, got.Nodes,
				want.Cause, want.Device, want.Severity, want.Nodes)
		}
		var seen []string
		for _, o := range got.SeenFrom {
			seen = append(seen, o.Node+": "+string(o.Cause))
		}
		if !slices.Equal(seen, want.Seen) {
			t.Errorf("finding %d: seen from %q, want %q", i, seen, want.Seen)
		}
		if want.Delay != "" && (f.Delay == nil || diagnose.Seconds(*f.Delay.P50) != want.Delay) {
			t.Errorf("finding %d: delay %+v, want %s", i, f.Delay, want.Delay)
		}
		if !slices.ContainsFunc(f.Evidence, func(e string) bool { return strings.Contains(e, want.Says) }) && want.Says != "" {
			t.Errorf("finding %d: %q, want %q", i, f.Evidence, want.Says)
		}
		if want.Text != "" && f.Sentence() != want.Text {
			t.Errorf("finding %d: %q, want %q", i, f.Sentence(), want.Text)
		}
	}
}
