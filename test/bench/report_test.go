package main

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestReport has a machine that becomes twice as slow in the second of three rounds, and a scenario above its limit.
func TestReport(t *testing.T) {
	t.Parallel()
	list := []scenario{{name: emptyName}, {name: clockName}, {name: "quick", limit: 2}, {name: "slow", limit: 2}, {name: wrapperName}, {name: "free"}}
	times := [][]float64{{40, 80, 40}, {70, 110, 70}, {100, 139, 99}, {101, 141, 102}, {42, 82, 42}, {142, 182, 142}}
	m := memory{KernelBytes: kernelLimit + 1, Agent: agentMemory{Flows: 10, Records: 20, ResidentBytes: residentLimit}}
	r := newReport(list, times, m, viewCost{Share: 0.051, FirstFrameMs: 299, AgentShare: 0.1})
	want := []program{
		{Name: clockName, Ns: 30, KtimeRatio: 1},
		{Name: "quick", Ns: 59, KtimeRatio: 1.97, Spread: 0.5},
		{Name: "slow", Ns: 61, KtimeRatio: 2.03, Spread: 0.5},
		{Name: wrapperName, Ns: 2, KtimeRatio: 0.07},
		{Name: "free", Ns: 100, KtimeRatio: 3.33},
	}
	if r.EmptyNs != 40 || r.Rounds != 3 {
		t.Errorf("the empty program takes %v ns in %d rounds, want 40 in 3", r.EmptyNs, r.Rounds)
	}
	for i, got := range r.Programs {
		if limited := got.Limit != nil; limited != (list[i+1].limit != 0) {
			t.Errorf("%s has a limit: %v", got.Name, limited)
		}
		got.Limit = nil
		if got != want[i] {
			t.Errorf("%+v, want %+v", got, want[i])
		}
	}
	exceeded := []string{"slow: 2.03 times a clock read, limit 2.0", "kernel memory: 24.0 MiB, limit 24", "the view takes 5.1 % of a core, limit 5"}
	if !slices.Equal(r.Exceeded, exceeded) {
		t.Errorf("exceeded: %q, want %q", r.Exceeded, exceeded)
	}

	var text bytes.Buffer
	if err := r.text(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"quick                              59.0        0.5       1.97  2.0 ok\n",
		"slow                               61.0        0.5       2.03  2.0 EXCEEDED\n",
		"free                              100.0        0.0       3.33\n",
		" 24 MiB EXCEEDED\n",
		" 60 MiB ok\n",
		" 5.1 %  5 % EXCEEDED\n",
		" 299 ms  300 ms ok\n",
	} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("no %q in\n%s", line, text.String())
		}
	}
	var out bytes.Buffer
	if err := r.json(&out); err != nil {
		t.Fatal(err)
	}
	var back struct {
		Programs []map[string]any
		Memory   map[string]any
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	slow := back.Programs[2]
	if slow["name"] != "slow" || slow["ns"] != 61.0 || slow["ktime_ratio"] != 2.03 || slow["spread"] != 0.5 {
		t.Errorf("program %v", slow)
	}
	if back.Memory["kernel_bytes"] != float64(kernelLimit+1) {
		t.Errorf("memory %v", back.Memory)
	}
}
