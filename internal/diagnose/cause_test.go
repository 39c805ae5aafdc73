package diagnose

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tracer/internal/golden"
)

// TestCausesRegistered has every cause in the registry once, with all that is to be said of it.
func TestCausesRegistered(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("cause.go")
	if err != nil {
		t.Fatal(err)
	}
	var registered []string
	for _, c := range Causes() {
		registered = append(registered, string(c.Cause))
		if len(c.Kinds) == 0 || len(c.Groups) == 0 && c.Cause != Wire || c.Meaning == "" || c.Where == "" || c.Evidence == "" || len(c.Next) == 0 || c.Advice == "" {
			t.Errorf("%s: incomplete: %+v", c.Cause, c)
		}
		if len(c.Meaning) > 80 {
			t.Errorf("%s: %q is too long for the help", c.Cause, c.Meaning)
		}
		for _, th := range c.Thresholds {
			if th.Reason == "" || th.String() == "" {
				t.Errorf("%s: a threshold without figures or reason: %+v", c.Cause, th)
			}
			if th.WarnDelay > th.CriticalDelay || th.WarnLoss > th.CriticalLoss || th.WarnTime > th.CriticalTime || th.WarnSeconds > th.CriticalSeconds {
				t.Errorf("%s: a warning comes after the alarm: %+v", c.Cause, th)
			}
		}
		for _, name := range c.Groups {
			if !slices.ContainsFunc(ruleGroups(), func(g ruleGroup) bool { return g.name == name }) {
				t.Errorf("%s: no group %s among the rules", c.Cause, name)
			}
			if _, err := os.Stat("cause_" + name + ".go"); err != nil {
				t.Errorf("%s: its rules are not where a reader looks: %v", c.Cause, err)
			}
		}
	}
	var declared []string
	for _, m := range regexp.MustCompile(`(?m)^\t\w+ +Cause = "([a-z-]+)"$`).FindAllStringSubmatch(string(source), -1) {
		declared = append(declared, m[1])
	}
	slices.Sort(declared)
	slices.Sort(registered)
	if len(declared) == 0 || !slices.Equal(declared, registered) {
		t.Errorf("declared are %q, registered %q", declared, registered)
	}
}

// TestCausesProven says what a new cause lacks: a scenario of testdata, and one of test/scoreboard or an excuse.
func TestCausesProven(t *testing.T) {
	t.Parallel()
	expected := func(pattern, cause string) map[string]bool {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %d files, %v", pattern, len(files), err)
		}
		causes := map[string]bool{}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(cause).FindAllStringSubmatch(string(text), -1) {
				for c := range strings.SplitSeq(m[1], "|") {
					causes[c] = true
				}
			}
		}
		return causes
	}
	unit := expected("testdata/*.json", `"cause": "([^"]+)"`)
	unit[string(Wire)] = expected("../cluster/testdata/*.yaml", `\bcause: ([a-z-]+)`)[string(Wire)]
	live := expected("../../test/scoreboard/scenarios/*.yaml", `\bcause: ([a-z|-]+)`)
	for _, c := range Causes() {
		name := string(c.Cause)
		if !unit[name] {
			t.Errorf("%s: no scenario of it in testdata", name)
		}
		switch played := live[name]; {
		case !played && c.WhyNoScenario == "":
			t.Errorf("%s: no scenario of it in test/scoreboard/scenarios, and WhyNoScenario does not say why", name)
		case played && c.WhyNoScenario != "":
			t.Errorf("%s: played in test/scoreboard/scenarios, though WhyNoScenario says why it is not", name)
		}
	}
}

func TestNext(t *testing.T) {
	t.Parallel()
	if got := next(EncapDelay, "DEVICE", "tunl0"); !slices.Equal(got, []string{"ip -d -s link show dev tunl0", "perf top -g"}) {
		t.Errorf("%q", got)
	}
	if got := next("gone"); got != nil {
		t.Errorf("%q", got)
	}
}

// The generated parts of docs/diagnose.md and docs/causes/README.md lie between these lines.
const (
	docs      = "../../docs/diagnose.md"
	docsIndex = "../../docs/causes/README.md"
	docsBegin = "<!-- causes: from internal/diagnose/cause.go, by go test ./internal/diagnose -update -->\n"
	docsEnd   = "<!-- end of causes -->\n"
)

// TestDocs keeps the pages true to the registry.
func TestDocs(t *testing.T) {
	t.Parallel()
	for page, generated := range map[string]string{docs: describeCauses(), docsIndex: listPages()} {
		data, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(data), docsBegin)
		_, after, ok2 := strings.Cut(rest, docsEnd)
		if !ok || !ok2 {
			t.Fatalf("%s lacks the lines between which the causes stand", page)
		}
		golden.Check(t, page, []byte(before+docsBegin+generated+docsEnd+after))
	}
}

// listPages is a table of the causes' pages.
func listPages() string {
	var b strings.Builder
	b.WriteString("\n| cause | what it means |\n|---|---|\n")
	for _, c := range Causes() {
		fmt.Fprintf(&b, "| [%s](%s.md) | %s |\n", c.Cause, c.Cause, c.Meaning)
	}
	b.WriteString("\n")
	return b.String()
}

// describeCauses is the generated part: a table of all, and a section for each.
func describeCauses() string {
	var b strings.Builder
	b.WriteString("\n| cause | kind | what it means |\n|---|---|---|\n")
	for _, c := range Causes() {
		fmt.Fprintf(&b, "| [`%s`](#%s) | %s | %s |\n", c.Cause, c.Cause, kinds(c.Kinds), c.Meaning)
	}
	for _, c := range Causes() {
		fmt.Fprintf(&b, "\n### %s\n\n%s.\n\n", c.Cause, capital(c.Meaning))
		fmt.Fprintf(&b, "- Where: %s\n- Evidence: %s\n", c.Where, c.Evidence)
		for i, th := range c.Thresholds {
			if i == 0 {
				b.WriteString("- Thresholds:\n")
			}
			fmt.Fprintf(&b, "  - %s: %s\n", th, th.Reason)
		}
		var commands []string
		for _, command := range c.Next {
			commands = append(commands, "`"+command+"`")
		}
		fmt.Fprintf(&b, "- Next: %s\n- Advice: %s\n", strings.Join(commands, ", "), c.Advice)
		fmt.Fprintf(&b, "- More: [causes/%s.md](causes/%s.md)\n", c.Cause, c.Cause)
		if c.WhyNoScenario != "" {
			fmt.Fprintf(&b, "- Not on the [scoreboard](reports/scoreboard.md): %s\n", c.WhyNoScenario)
		}
	}
	b.WriteString("\n")
	return b.String()
}

func kinds(kinds []Kind) string {
	var all []string
	for _, k := range kinds {
		all = append(all, string(k))
	}
	return strings.Join(all, ", ")
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
