package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"tracer/docs"
	"tracer/internal/loader"
)

// TestKernelsTable holds the table of docs/kernels.md against this kernel, if it is one of the table's.
func TestKernelsTable(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	report, err := check(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	said := kernelColumn(docs.Kernels, report.Kernel)
	if said == nil {
		t.Logf("docs/kernels.md has no column for %s", report.Kernel)
		return
	}
	is := map[string]string{"tc ingress and egress by": "clsact", "reason of a drop": "no"}
	if report.TCX {
		is["tc ingress and egress by"] = "TCX"
	}
	if report.DropReasons {
		is["reason of a drop"] = "yes"
	}
	for _, h := range report.Hooks {
		if h.Device == "" {
			is[h.Name] = "yes"
		}
	}
	for _, o := range report.Omitted {
		missing := func(h loader.Hook) bool { return h.Name == o.Hook }
		if o.Unneeded {
			is[o.Hook] = "yes"
		} else if o.Device == "" && !slices.ContainsFunc(report.Hooks, missing) {
			is[o.Hook] = "no"
		}
	}
	for hook, value := range is {
		if said[hook] != value {
			t.Errorf("%s: docs/kernels.md says %q of %s, it is %q", hook, said[hook], report.Kernel, value)
		}
		delete(said, hook)
	}
	for hook := range said {
		t.Errorf("docs/kernels.md has a hook %s that tracer check knows nothing of", hook)
	}
}

var kernelVersion = regexp.MustCompile(`^\d+\.\d+`)

// kernelColumn is what a table in Markdown says of a kernel, by hook; nil if it has no column for it.
func kernelColumn(markdown, release string) map[string]string {
	var column int
	said := map[string]string{}
	for line := range strings.Lines(markdown) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.Trim(strings.TrimSpace(cells[i]), "`")
		}
		switch {
		case !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|-"):
		case cells[0] == "hook":
			column = slices.Index(cells, kernelVersion.FindString(release))
		case column > 0:
			said[cells[0]] = cells[column]
		}
	}
	if len(said) == 0 {
		return nil
	}
	return said
}

func TestKernelColumn(t *testing.T) {
	t.Parallel()
	const table = "text\n\n| hook | 6.1 | 6.12 |\n|---|---|---|\n| `a` | yes | no |\n| b | x | y |\n"
	if got := kernelColumn(table, "6.12.3-cloud"); len(got) != 2 || got["a"] != "no" || got["b"] != "y" {
		t.Errorf("6.12: %v", got)
	}
	if got := kernelColumn(table, "6.2.0"); got != nil {
		t.Errorf("6.2, of which there is nothing: %v", got)
	}
}
