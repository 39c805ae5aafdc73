package main

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"tracer/internal/diagnose"
)

// Where scenarios can be played.
const (
	Host  = "host"  // any kernel, whatever it lacks
	Guest = "guest" // one with ipip, netem and all queues, in a machine of its own: what only that can play, and a few more
)

// scenario is one file: what is built, what is broken, and what must be found.
type scenario struct {
	Name  string   `yaml:"-"` // the file's
	About string   `yaml:"about"`
	Where []string `yaml:"where"`
	// Needs is a file below /proc or /sys without which a kernel cannot play it.
	Needs string `yaml:"needs"`
	// Alone is for what would disturb other labs, or be disturbed by them.
	Alone bool `yaml:"alone"`
	// Heavy is for what takes all the CPU that it can get: there is one of them at a time.
	Heavy bool `yaml:"heavy"`
	// Draw names what differs from seed to seed: a list of words is chosen from; two numbers are a range.
	Draw     map[string]choice `yaml:"draw"`
	Topology topology          `yaml:"topology"`
	Load     loadConfig        `yaml:"load"`
	Traffic  []traffic         `yaml:"traffic"`  // beside the load
	Prepare  []step            `yaml:"prepare"`  // before the traffic
	Fault    []step            `yaml:"fault"`    // while there is traffic, before the window
	During   []step            `yaml:"during"`   // begun with the window, and ended with it
	After    []step            `yaml:"after"`    // undoes what the lab's end does not, whatever happened
	Real     []check           `yaml:"real"`     // by which we know that the fault hurts, or the load is there
	Diagnose question          `yaml:"diagnose"` // how tracer is asked
	Expect   expectation       `yaml:"expect"`
}

type topology struct {
	Overlay string `yaml:"overlay"` // by itself vxlan on a host, and ipip in a guest
	// HostRouting and Netkit are those of lab.Options.
	HostRouting bool     `yaml:"host_routing"`
	Netkit      bool     `yaml:"netkit"`
	Nodes       int      `yaml:"nodes"`  // by itself drawn
	Pods        []string `yaml:"pods"`   // name@node, beside web on node1 and api on node2
	Uplink      string   `yaml:"uplink"` // by itself drawn
	// Ingress and Egress are the bandwidths to which pods' annotations limit them: web: 10M.
	Ingress map[string]string `yaml:"ingress"`
	Egress  map[string]string `yaml:"egress"`
	// Services have no endpoints, as the names know: namespace/name=address.
	Services []string `yaml:"services"`
}

// loadConfig is the load between web and api; what is left out is the lab's own.
type loadConfig struct {
	Rate *float64       `yaml:"rate"`
	Size int            `yaml:"size"`
	TCP  *time.Duration `yaml:"tcp"`
	Off  bool           `yaml:"off"` // hardly any: a packet in ten seconds
}

// question says how tracer is asked.
type question struct {
	On    string   `yaml:"on"`    // the node
	Flags []string `yaml:"flags"` // beside the usual
	Agent bool     `yaml:"agent"` // ask an agent that has just been started
	Wait  float64  `yaml:"wait"`  // seconds between fault and window
	// Usual is how long handshakes with nodes take as the agent has learnt before it was started, in an earlier life.
	Usual map[string]time.Duration `yaml:"usual"`
	// UsualRequests likewise is how long requests of pairs take: "default/client > default/server".
	UsualRequests map[string]time.Duration `yaml:"usual_requests"`
}

// expectation is what must be found.
type expectation struct {
	Verdict []string `yaml:"verdict"`
	// Findings must all be among the report's, and the first of the report must be one of them.
	Findings []finding `yaml:"findings"`
	// Alone: nothing else is critical.
	Alone bool `yaml:"alone"`
	// Never are causes that may not be named.
	Never []string `yaml:"never"`
}

// healthy tells whether the scenario is one of those of which nothing may be said.
func (s *scenario) healthy() bool { return len(s.Expect.Findings) == 0 }

func (s *scenario) canRun(where string) bool { return slices.Contains(s.Where, where) }

// playing is one run of a scenario.
type playing struct {
	*scenario
	Turn int // of several with other seeds, from 1; 0 where there is one
	Seed uint64
}

func (p playing) String() string {
	if p.Turn == 0 {
		return p.Name
	}
	return fmt.Sprintf("%s-%d", p.Name, p.Turn)
}

// playings are a scenario's runs: faults are played once.
func (s *scenario) playings(seed uint64, seeds int) []playing {
	of := func(turn int) playing {
		h := fnv.New64a()
		fmt.Fprintf(h, "%d/%s/%d", seed, s.Name, turn)
		return playing{scenario: s, Turn: turn, Seed: h.Sum64()}
	}
	if !s.healthy() {
		return []playing{of(0)}
	}
	var all []playing
	for turn := 1; turn <= seeds; turn++ {
		all = append(all, of(turn))
	}
	return all
}

// loadScenarios reads all files, in the order of their names.
func loadScenarios(files fs.FS) ([]*scenario, error) {
	names, err := fs.Glob(files, "scenarios/*.yaml")
	if err != nil {
		return nil, err
	}
	var all []*scenario
	for _, name := range names {
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		s, err := parseScenario(strings.TrimSuffix(path.Base(name), ".yaml"), text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, s)
	}
	return all, nil
}

func parseScenario(name string, text []byte) (*scenario, error) {
	s := &scenario{Name: name}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(s); err != nil {
		return nil, err
	}
	return s, s.validate()
}

func (s *scenario) validate() error {
	var errs []error
	complain := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if s.About == "" {
		complain("say what it is about")
	}
	if len(s.Where) == 0 || slices.ContainsFunc(s.Where, func(w string) bool { return w != Host && w != Guest }) {
		complain("where %v: give host, guest or both", s.Where)
	}
	if len(s.Expect.Verdict) == 0 {
		complain("no verdict is expected")
	}
	for _, step := range slices.Concat(s.Prepare, s.Fault, s.During, s.After) {
		if step.place == machine && (!s.Alone || slices.Contains(s.Where, Host)) {
			complain("a step on the machine: only alone, in a guest")
		}
	}
	if !s.healthy() && len(s.Real) == 0 {
		complain("nothing tells whether the fault is real")
	}
	if s.Diagnose.Usual != nil && !s.Diagnose.Agent {
		complain("what is usual is known to an agent alone")
	}
	if s.Diagnose.UsualRequests != nil && s.Diagnose.Usual == nil {
		complain("requests are judged where it is known how long handshakes with their nodes take")
	}
	for _, t := range s.Traffic {
		if err := t.validate(); err != nil {
			errs = append(errs, err)
		}
	}
	for _, c := range s.Real {
		if err := c.validate(len(s.Traffic)); err != nil {
			errs = append(errs, err)
		}
	}
	for _, f := range s.Expect.Findings {
		if f.Cause == nil {
			complain("a finding without a cause")
			continue
		}
		for cause := range strings.SplitSeq(*f.Cause, "|") {
			if cause != anything && !slices.ContainsFunc(diagnose.Causes(), func(c diagnose.CauseInfo) bool { return string(c.Cause) == cause }) {
				complain("cause %q: tracer knows none of that name", cause)
			}
		}
	}
	return errors.Join(errs...)
}

func joinWords(words []string) string { return strings.Join(words, " ") }
