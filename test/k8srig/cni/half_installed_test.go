package cni

import (
	"fmt"
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
		until(t, time.Minute, "find nothing on "+n.Name, func() error {
			r, err := diagnose(n)
			if err == nil && (r.Verdict != "no-traffic" && r.Verdict != "healthy" || len(r.Findings) > 0) {
				err = fmt.Errorf("%s: %s", r.Verdict, r.Summary)
			}
			return err
		})
	}
}

// installed: to agents that were there before the plugin, its devices are what they are to others. Then they are gone.
func (l *layout) installed(t *testing.T) {
	t.Helper()
	l.healthy(t)
	l.stopAgents(t)
}
