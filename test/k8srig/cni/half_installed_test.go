package cni

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// halfInstalled has the list of plugins and agents, but not that plugin itself or not its daemon: no pod starts, and agents find no fault
// in it.
func (c *cluster) halfInstalled(t *testing.T, plugin string) {
	t.Helper()
	c.startAgents(t)
	c.apply(t, dnsYAML)
	until(t, time.Minute, "fail to start a pod", func() error {
		out, err := c.Kubectl("-n", "kube-system", "get", "events", "--field-selector", "reason=FailedCreatePodSandBox", "-o", "jsonpath={.items[*].message}")
		if err == nil && !strings.Contains(out, `"`+plugin+`"`) {
			err = fmt.Errorf("no pod has failed for want of the plugin: %q", out)
		}
		return err
	})
	for _, n := range c.nodes {
		for begin := time.Now(); time.Since(begin) < 15*time.Second; time.Sleep(time.Second) {
			r, err := diagnose(n)
			if err != nil {
				t.Fatal(err)
			}
			if r.Verdict != "no-traffic" && r.Verdict != "healthy" || slices.ContainsFunc(r.Findings, func(f finding) bool { return f.Severity != "info" }) {
				t.Fatalf("%s: %s: %s", n.Name, r.Verdict, r.Summary)
			}
		}
	}
}

// installed: to agents that were there before the plugin, its devices are what they are to others. Then they are gone.
func (l *layout) installed(t *testing.T) {
	t.Helper()
	l.healthy(t)
	l.stopAgents(t)
}
