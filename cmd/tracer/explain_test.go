package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"tracer/internal/diagnose"
)

func TestExplain(t *testing.T) {
	t.Parallel()
	for _, c := range diagnose.Causes() {
		out, err := execute(t, "explain", string(c.Cause))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, want := range []string{string(c.Cause) + "\n", "What it means\n", "How the kernel shows it\n", "What to do\n", "What it can be confused with\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%s: %q is missing", c.Cause, want)
			}
		}
		if strings.Contains(out, "](") || strings.Contains(out, "```") {
			t.Errorf("%s: Markdown is left", c.Cause)
		}
	}
	out, err := execute(t, "explain")
	if err != nil || strings.Count(out, "\n") != len(diagnose.Causes()) || !strings.Contains(out, "\n  qdisc-drop         a queue drops more") {
		t.Errorf("the list: %v\n%s", err, out)
	}
}

// TestExplainRefuses names the causes that may be meant.
func TestExplainRefuses(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"qdisc-dely": "qdisc-delay", "qdisk": "qdisc-delay or qdisc-drop", "qdisc": "qdisc-delay or qdisc-drop", "conntrack": "conntrack-full", "NEIGHBOR": "neighbour", "loss": "pod-loss or remote-loss",
		"rp_filter": "rp-filter", "coffee": "`tracer explain` lists them", "README": "`tracer explain` lists them", "../design": "`tracer explain` lists them",
	} {
		_, err := execute(t, "explain", name)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
	if _, err := execute(t, "explain", "ttl", "mtu"); err == nil {
		t.Error("two causes are taken")
	}
}

func TestExplainCompletes(t *testing.T) {
	t.Parallel()
	cmd := newExplainCommand()
	names, directive := cmd.ValidArgsFunction(cmd, nil, "")
	if len(names) != len(diagnose.Causes()) || directive != cobra.ShellCompDirectiveNoFileComp ||
		!slices.ContainsFunc(names, func(s string) bool { return strings.HasPrefix(s, "qdisc-delay\t") }) {
		t.Errorf("%q", names)
	}
	if names, _ := cmd.ValidArgsFunction(cmd, []string{"ttl"}, ""); len(names) > 0 {
		t.Errorf("a second: %q", names)
	}
}

func TestPlainPage(t *testing.T) {
	t.Parallel()
	const page = "# ttl\n\nA [routing\nloop](x.md#y), see `nstat`.\n\n```\n$ nstat -az\n# [a](b)\n```\n"
	if got, want := plainPage(page, false), "ttl\n\nA routing\nloop, see `nstat`.\n\n    $ nstat -az\n    # [a](b)\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := plainPage(page, true); !strings.Contains(got, pageBold+"ttl"+pageReset) || !strings.Contains(got, pageCode+"nstat"+pageReset) {
		t.Errorf("%q", got)
	}
}
