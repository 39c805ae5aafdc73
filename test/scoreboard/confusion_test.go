package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// played is what came of a run of which tracer said that, as JSON without its frame.
func played(t *testing.T, name, expect, findings, verdict string) result {
	t.Helper()
	real := ""
	if strings.Contains(expect, "findings") {
		real = "real: [{oracle: tcp.p50, least: 1}]\n"
	}
	s, err := parseScenario(name, []byte("about: x\nwhere: [host]\n"+real+"expect: "+expect+"\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := parseReport([]byte(`{"schema_version":1,"verdict":"` + verdict + `","findings":[` + findings + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	o := outcome{playing: playing{scenario: s}, expected: s.Expect, said: r, tries: 1}
	return o.result()
}

func TestConfusion(t *testing.T) {
	t.Parallel()
	const ttl, warning = `{"cause":"ttl","severity":"critical"}`, `{"cause":"ttl","severity":"warning"}`
	const expectTTL, healthy = "{verdict: [fault], findings: [{cause: ttl}]}", "{verdict: [healthy]}"
	failed := outcome{playing: playing{scenario: &scenario{Name: "g"}}, err: errors.New("no CPU")}
	results := []result{
		played(t, "a", expectTTL, ttl, "fault"), played(t, "b", expectTTL, "", "healthy"), played(t, "c", expectTTL, warning, "healthy"),
		played(t, "d", "{verdict: [fault], findings: [{cause: mtu|no-answer}, {cause: ttl}]}", ttl, "fault"),
		played(t, "e", "{verdict: [healthy], findings: [{cause: misconfiguration, severity: warning}]}",
			`{"cause":"misconfiguration","severity":"warning"}`, "healthy"),
		played(t, "f-1", healthy, "", "healthy"), played(t, "f-2", healthy, ttl, "fault"), played(t, "f-3", healthy, warning, "healthy"),
		failed.result(),
	}
	var b strings.Builder
	writeConfusion(&b, results)
	want := `| injected | runs | misconfiguration | ttl | healthy | warning | not played |
|---|---:|---:|---:|---:|---:|---:|
| misconfiguration | 1 | **1** | | | | |
| mtu or no-answer + ttl | 1 | | 1 | | | |
| ttl | 3 | | **1** | 1 | 1 | |
| healthy | 4 | | 1 | **1** | 1 | 1 |

Not called right:

- ` + "`b` (MISSED): expected ttl, said healthy" + `
- ` + "`c` (MISSED): expected ttl, said healthy + ttl" + `
- ` + "`d` (MISSED): expected mtu|no-answer + ttl, said ttl" + `
- ` + "`f-2` (FALSE ALARM): expected healthy, said ttl" + `
- ` + "`g` (ERROR): expected nothing, said nothing" + `

Healthy, with a warning:

- ` + "`f-3` (silent): expected healthy, said healthy + ttl" + `
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// The page keeps what other kernels have said.
func TestRenewConfusion(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "confusion.md")
	for _, part := range [][2]string{{"In guests, 6.12", "one\n\n| a |\n"}, {"Here, 6.18", "two\n"}, {"In guests, 6.12", "three\n"}} {
		if err := renewConfusion(path, part[0], []byte(part[1])); err != nil {
			t.Fatal(err)
		}
	}
	page, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := confusionHead + "\n## Here, 6.18\n\ntwo\n\n## In guests, 6.12\n\nthree\n"; string(page) != want {
		t.Errorf("%s", page)
	}
}
