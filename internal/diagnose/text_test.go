package diagnose

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"tracer/internal/journey"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	want := []string{"one two", "threefour", "five"}
	if got := wrap("one two threefour five", 7); !slices.Equal(got, want) {
		t.Errorf("wrap: %q", got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestWriteTextFails(t *testing.T) {
	t.Parallel()
	r := Diagnose("", Snapshot{}, Snapshot{})
	if err := r.WriteText(broken{}, false); err == nil || !strings.Contains(err.Error(), "write report: pipe closed") {
		t.Errorf("got %v", err)
	}
}

// TestUnhurt tells in a fault of the pairs that it does not hurt.
func TestUnhurt(t *testing.T) {
	t.Parallel()
	r := Report{Verdict: Fault, Summary: "all is lost", Findings: []Finding{{
		Cause: PolicyDrop, Severity: Critical, Pairs: []Pair{{Src: "default/api", Dst: "default/web"}}, Next: []string{"nft list ruleset"},
	}, {Cause: MTU, Severity: Warning, Pairs: []Pair{{Src: "default/job", Dst: "default/api"}}}}}
	for _, src := range []string{"web", "job", "cron", "old"} {
		r.Checked = append(r.Checked, Checked{Pair: Pair{Src: "default/" + src, Dst: "default/api"}, There: 7, Back: 8, Direction: journey.Out})
	}
	var b strings.Builder
	if err := r.WriteText(&b, false); err != nil {
		t.Fatal(err)
	}
	const want = "FAULT: all is lost\n" +
		"do       nft list ruleset\n" +
		"         then: find the rule whose counter rises, and who made it\n" +
		"checked  default/job → default/api: 7 packets left, 8 came back; 0 lost on this node\n" +
		"         default/cron → default/api: 7 packets left, 8 came back; 0 lost on this node\n" +
		"window   0 ms from 00:00:00\n\n"
	if !strings.HasPrefix(b.String(), want) {
		t.Errorf("%s", b.String())
	}
	r.Findings[0].Pairs = nil
	b.Reset()
	if err := r.WriteText(&b, false); err != nil || strings.Contains(b.String(), "checked") {
		t.Errorf("whom it hurts is not known: %v\n%s", err, b.String())
	}
}
