package cni

import (
	_ "embed"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"
)

//go:embed limited.yaml
var limitedYAML string

// bandwidth starts pods whose bandwidth is limited, beside agents that run. They come up, their limits hold, all of their
// packets are seen, and no agent calls a limit that somebody wants a fault.
func (l *layout) bandwidth(t *testing.T) {
	t.Helper()
	l.apply(t, limitedYAML)
	for _, d := range []string{"receiver", "sender", "eager"} {
		l.kubectl(t, "-n store rollout status deployment/"+d+" --timeout=300s")
	}
	n := l.nodes[0]
	until(t, time.Minute, "reach both limits", func() error {
		out, err := n.Output("tc", "-s", "qdisc")
		if err != nil {
			return err
		}
		if limits := reached(out); limits != 2 {
			return fmt.Errorf("%d limits are reached:\n%s", limits, out)
		}
		return nil
	})
	// Who calls a Service before kube-proxy knows it gets no answer, and that is said.
	l.healthy(t)
	for begin := time.Now(); time.Since(begin) < 30*time.Second; time.Sleep(time.Second) {
		for _, n := range l.nodes {
			r, err := diagnose(n)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range r.Findings {
				if f.Severity == "critical" {
					t.Fatalf("%s: %s", n.Name, r.Summary)
				}
			}
		}
	}
}

var tbf = regexp.MustCompile(`(?m)^qdisc tbf .*\n.*overlimits (\d+)`)

// reached is how many of the token bucket filters had to hold packets.
func reached(qdiscs string) (n int) {
	for _, m := range tbf.FindAllStringSubmatch(qdiscs, -1) {
		if held, err := strconv.Atoi(m[1]); err == nil && held > 100 {
			n++
		}
	}
	return n
}
