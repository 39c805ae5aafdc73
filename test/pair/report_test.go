package pair

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// report is the part of `tracer diagnose -o json` that is judged.
type report struct {
	Verdict  string
	Summary  string
	Findings []finding
	Coverage []struct {
		Device    *string
		Direction *string
		Ratio     *float64
		Reason    *string
	}
}

type finding struct {
	Cause    string
	Severity string
	Device   *string
	Evidence []string
}

func (f finding) String() string {
	device := "-"
	if f.Device != nil {
		device = *f.Device
	}
	return f.Cause + "@" + device
}

// causes are those that a report blames: "qdisc-delay@tunl0".
func (p report) causes() (all []string) {
	for _, f := range p.Findings {
		if f.Severity == "critical" {
			all = append(all, f.String())
		}
	}
	return all
}

// evidence is all findings' evidence.
func (p report) evidence() string {
	var b strings.Builder
	for _, f := range p.Findings {
		fmt.Fprintf(&b, "\t%s %s\n", f.Severity, f)
		for _, line := range f.Evidence {
			fmt.Fprintf(&b, "\t\t%s\n", line)
		}
	}
	return b.String()
}

// said is a report in a line.
func (p report) said() string {
	return fmt.Sprintf("%s %s: %s", strings.ToUpper(p.Verdict), strings.Join(p.causes(), " "), p.Summary)
}

// window is what nodes are asked about. An agent looks back so far: what was mended within it is still found.
const window = 15 * time.Second

// diagnose asks both nodes about the same window of time.
func (r *rig) diagnose(window time.Duration) (both [2]report) {
	r.Helper()
	r.both(func(m *machine) error {
		i := 0
		if m == r.node2 {
			i = 1
		}
		// A verdict is its exit status too.
		script := fmt.Sprintf("tracer diagnose -o json --duration %v; status=$?; ((status == 0 || status == 2 || status == 3))", window)
		return m.runJSON(r.Context(), script, &both[i])
	})
	return both
}

// wanted is what a node must say.
type wanted struct {
	// first is the first of its causes; none: nothing must be wrong. Several are separated by "|".
	first string
	// may are other causes that are right too.
	may []string
}

// check says what is wrong with a report, "" if nothing is; and whether that is only what is not found yet.
func (w wanted) check(p report) (wrong string, missing bool) {
	first := strings.Split(w.first, "|")
	if w.first == "" && len(w.may) == 0 && p.Verdict != "healthy" {
		return "want healthy", false
	}
	for _, c := range p.causes() {
		if !slices.Contains(first, c) && !slices.Contains(w.may, c) {
			return c + " is not so", false
		}
	}
	if w.first != "" && (p.Verdict != "fault" || len(p.Findings) == 0 || !slices.Contains(first, p.Findings[0].String())) {
		return "want a fault, first of all " + w.first, true
	}
	return "", false
}
