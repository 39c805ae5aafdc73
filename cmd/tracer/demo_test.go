//go:build !nolab

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/test/steady"
)

// TestByHand goes through the story as the README has it done by hand, without an agent.
func TestByHand(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	dir := t.TempDir()
	lab := func(args ...string) {
		t.Helper()
		cmd := tracer(append(append([]string{"lab"}, args...), "--name", "byhand", "--run-dir", dir)...)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("lab %v: %v: %s", args, err, out)
		}
	}
	lab("up")
	t.Cleanup(func() { lab("down") })
	in := func(args ...string) *exec.Cmd {
		exe, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("ip", append([]string{"netns", "exec", "byhand-node1", exe}, append(args, "--run-dir", dir)...)...)
		cmd.Env = append(os.Environ(), "TRACER_TEST_RUN=1")
		return cmd
	}
	diagnosis := func(code int) (r diagnose.Report, wrong string) {
		t.Helper()
		var stderr bytes.Buffer
		cmd := in("diagnose", "--duration", "4s", "-o", "json")
		cmd.Stderr = &stderr
		out, _ := cmd.Output() // the exit code is looked at
		if got := cmd.ProcessState.ExitCode(); got != code {
			return r, fmt.Sprintf("diagnose exits with %d, want %d: %s%s", got, code, out, stderr.Bytes())
		}
		if err := json.Unmarshal(out, &r); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return r, ""
	}
	r, wrong := diagnosis(0)
	if wrong != "" {
		t.Fatal(wrong)
	}
	if r.Verdict != diagnose.Healthy || r.Node != "node1" {
		t.Errorf("%s of %s: %s", r.Verdict, r.Node, r.Summary)
	}
	out, err := in("trace", "--once", "5", "-o", "json", "--pod", "default/web", "--peer", "default/api").Output()
	if lines := bytes.Count(out, []byte("\n")); err != nil || lines != 5 {
		t.Errorf("trace --once 5: %d lines, %v: %s", lines, err, out)
	}
	lab("fault", "--delay", "200ms")
	// On a machine that stands still a load takes its time to fill a queue.
	steady.Measure(t, func() (wrong string) {
		r, wrong = diagnosis(2)
		return wrong
	})
	if r.Verdict != diagnose.Fault || r.Findings[0].Stage != journey.Queue {
		t.Errorf("%s: %s", r.Verdict, r.Summary)
	}
}

// TestDemo tells the story as a visitor has it told, and checks it against the application's own clock.
func TestDemo(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	cmd := tracer("demo", "-o", "json")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var r demoReport
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if r.Healthy.Verdict != diagnose.Healthy {
		t.Errorf("before the fault: %s: %s", r.Healthy.Verdict, r.Healthy.Summary)
	}
	if r.Faulted.Verdict != diagnose.Fault || len(r.Faulted.Findings) == 0 {
		t.Fatalf("with the fault: %s: %s", r.Faulted.Verdict, r.Faulted.Summary)
	}
	f := r.Faulted.Findings[0]
	if f.Device != r.Injected.Device || f.Stage != journey.Queue || f.Delay == nil || f.Delay.P50 == nil {
		t.Fatalf("found %+v, injected %+v", f, r.Injected)
	}
	if got, want := *f.Delay.P50, r.Injected.DelaySeconds; math.Abs(got-want) > 0.1*want {
		t.Errorf("measured a delay of %v s, by the application's clock it is %v s", got, want)
	}
	checkCalls(t, r.Calls)
	if left, err := filepath.Glob("/run/netns/" + demoLab + "-*"); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// checkCalls: what is drawn adds up, is as slow as by web's own clock, and as the phase has it.
func checkCalls(t *testing.T, moments []callMoment) {
	t.Helper()
	for _, m := range moments {
		var sum float64
		for _, seconds := range m.Parts {
			sum += seconds
		}
		if math.Abs(sum-m.Call) > 1e-9 {
			t.Errorf("after %.0f s parts of %v s are %v: %v s", m.End, m.Call, m.Parts, sum)
		}
	}
	typical := medianMoments(moments)
	if len(typical) != 3 || typical[0].Phase != "healthy" || typical[1].Phase != "faulted" || typical[2].Phase != "healed" {
		t.Fatalf("%+v", moments)
	}
	work := lab.StoryLoad().Work.Seconds()
	for _, m := range typical {
		if m.Parts[lab.API] < 0.9*work {
			t.Errorf("%s: api took %v s of a call, it worked for %v s", m.Phase, m.Parts[lab.API], work)
		}
	}
	healthy, faulted, healed := typical[0], typical[1], typical[2]
	if faulted.Parts[string(journey.Queue)] < 0.8*faulted.Call || math.Abs(faulted.Call-faulted.Own) > 0.2*faulted.Own {
		t.Errorf("faulted: %+v", faulted)
	}
	if healthy.Call > faulted.Call/4 || healed.Call > faulted.Call/4 {
		t.Errorf("a call takes %v s, %v s with the fault, %v s after it", healthy.Call, faulted.Call, healed.Call)
	}
}
