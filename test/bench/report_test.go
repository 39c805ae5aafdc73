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
	list := []scenario{{name: emptyName}, {name: clockName}, {name: "quick", limit: 2}, {name: "slow", limit: 2}, {name: "aimed", limit: 2, aim: true}, {name: wrapperName}, {name: "free"}}
	times := [][]float64{{40, 80, 40}, {70, 110, 70}, {100, 139, 99}, {101, 141, 102}, {101, 141, 102}, {42, 82, 42}, {142, 182, 142}}
	limit, least := 20.0, 0.95
	surely := func(x float64) bounds { return bounds{&x, &x} }
	r := report{
		Memory: kernelMemory{KernelBytes: kernelLimit + 1},
		Live: []liveProgram{{
			Workload: smallUDP, Program: everyProgram,
			Unsampled: liveCost{Ns: 21, Limit: &limit, bounds: surely(21)},
			Sampled:   liveCost{Ns: 20, Limit: &limit, bounds: surely(20)},
		}},
		Traffic: []trafficResult{
			{Workload: smallUDP, Mode: byDefault, Ratio: 0.9, OfEmpty: 0.91, Limit: &least, Verdict: exceeded},
			{Workload: bulkTCP, Mode: byDefault, OfEmpty: 0.94, Limit: &least, Verdict: notShown},
		},
		Agent: agentReport{
			Long: agentCost{nodeLoad: nodeLoad{Flows: 10}, Records: 20, ResidentBytes: residentLimit},
			Scale: []agentCost{{Cores: 0.006}, {nodeLoad: nodeLoad{Rate: 20_000}, Cores: 0.021},
				{nodeLoad: nodeLoad{Devices: startDevices}, StartSeconds: 11, StartCPUSeconds: 1}},
			Growth: growth{Ratio: 1.2, bounds: surely(1.2)},
		},
		Go:   []goBenchmark{{Package: "export", Name: scrapeBenchmark, Ns: 51e6}, {Package: "export", Name: "other", Ns: 51e6}},
		View: viewCost{Share: 0.051, FirstFrameMs: 299, AgentShare: 0.1},
	}
	r.setPrograms(list, times)
	r.judge()
	want := []program{
		{Name: clockName, Ns: 30, KtimeRatio: 1},
		{Name: "quick", Ns: 59, KtimeRatio: 1.97, Spread: 0.5},
		{Name: "slow", Ns: 61, KtimeRatio: 2.03, Spread: 0.5},
		{Name: "aimed", Ns: 61, KtimeRatio: 2.03, Spread: 0.5, Aim: true},
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
	wrong := []string{
		"slow: 2.03 times a clock read, limit 2.00",
		"UDP, 64 bytes, a hook's mean, not sampled: 21.0 ns, limit 20",
		"UDP, 64 bytes, default: 0.910 of what empty programs on tc leave, limit 0.95",
		"kernel memory: 24.0 MiB, limit 24",
		"an agent that reads 20000 records a second: 2.1 % of a core, limit 2",
		"a packet costs 1.20 times as much with many pods and flows as with one, limit 1.10",
		"a scrape of 10,000 series: 51.0 ms, limit 50",
		"the view takes 5.1 % of a core, limit 5",
	}
	if !slices.Equal(r.Exceeded, wrong) {
		t.Errorf("exceeded: %q, want %q", r.Exceeded, wrong)
	}
	aimed := []string{"aimed: 2.03 times a clock read, limit 2.00", "an agent starts with 500 devices in 11.0 s, limit 3"}
	if !slices.Equal(r.Missed, aimed) {
		t.Errorf("missed: %q, want %q", r.Missed, aimed)
	}
	if unknown := []string{"TCP bulk, default: 0.940 of what empty programs on tc leave, limit 0.95"}; !slices.Equal(r.NotShown, unknown) {
		t.Errorf("not shown: %q, want %q", r.NotShown, unknown)
	}

	var text bytes.Buffer
	if err := r.text(&text); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"quick                                  59.0        0.5       1.97  2.00 ok\n",
		"slow                                   61.0        0.5       2.03  2.00 EXCEEDED\n",
		"free                                  100.0        0.0       3.33\n",
		" 24 MiB EXCEEDED\n",
		"  20 EXCEEDED, 20 ok\n",
		"resident MiB after 20 packets of 10 flows                      40.0  40 ok (at most 0.0)\n",
		" 0.6 %  1 % of a core ok\n",
		" 2.1 %  2 % of a core EXCEEDED\n",
		" 5.1 %  5 % EXCEEDED\n",
		" 299 ms  300 ms ok\n",
		"EXCEEDED: kernel memory: 24.0 MiB, limit 24\n",
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
		Programs, Traffic []map[string]any
		Memory, Agent     map[string]any
	}
	if err := json.Unmarshal(out.Bytes(), &back); err != nil {
		t.Fatal(err)
	}
	slow := back.Programs[2]
	if slow["name"] != "slow" || slow["ns"] != 61.0 || slow["ktime_ratio"] != 2.03 || slow["spread"] != 0.5 {
		t.Errorf("program %v", slow)
	}
	if udp := back.Traffic[0]; udp["workload"] != smallUDP || udp["mode"] != byDefault || udp["ratio"] != 0.9 || udp["spread"] != 0.0 {
		t.Errorf("traffic %v", udp)
	}
	if scale, _ := back.Agent["scale"].([]any); len(scale) != 3 {
		t.Errorf("agent %v", back.Agent)
	}
	if back.Memory["kernel_bytes"] != float64(kernelLimit+1) {
		t.Errorf("memory %v", back.Memory)
	}
}

// TestProgramsSetAgainst takes off what the same hook takes without, and what it takes to put a connection back.
func TestProgramsSetAgainst(t *testing.T) {
	t.Parallel()
	list := []scenario{
		{name: emptyName}, {name: clockName}, {name: wrapperName}, {name: firstTCP}, {name: connectionName, connection: &connection{}},
		{name: "not followed", than: firstTCP, limit: passLimit}, {name: "question", than: firstTCP, connection: &connection{}, limit: followLimit},
	}
	r := report{}
	r.setPrograms(list, [][]float64{{10, 20}, {40, 60}, {12, 24}, {60, 90}, {15, 29}, {63, 93}, {80, 112}})
	r.judgePrograms()
	for i, want := range []float64{35, 3, 57, 4, 3, 17} {
		if got := r.Programs[i]; got.Ns != want || got.Than != list[i+1].than {
			t.Errorf("%s: %v ns more than %q, want %v", got.Name, got.Ns, got.Than, want)
		}
	}
	if len(r.Exceeded) != 0 || len(r.Missed) != 0 {
		t.Errorf("exceeded %q, missed %q", r.Exceeded, r.Missed)
	}
	if got := r.Programs[5].KtimeRatio; got != 0.49 {
		t.Errorf("a question takes %v of a clock read, want 0.49", got)
	}
}
