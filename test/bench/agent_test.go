package main

import (
	"os"
	"slices"
	"testing"
	"time"

	"tracer/test/steady"
)

// TestMain is one of the benchmark's other processes where a test below starts this program as one.
func TestMain(m *testing.M) {
	if slices.Contains(os.Args, "-be") {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestMeasureAgent has an agent see each flow once.
func TestMeasureAgent(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	load := longLoad(time.Second)
	c, m, err := measureAgent(t.Context(), load)
	if err != nil {
		t.Fatal(err)
	}
	if c.Records < uint64(load.Flows) || c.ResidentBytes < 10<<20 || c.PeakBytes < c.ResidentBytes {
		t.Errorf("agent: %+v", c)
	}
	// In so short a time there may be much noise, but not so much.
	if c.CPUSeconds <= 0 || c.CPUSeconds > 100 || c.ProgramNs < 100 || c.ProgramNs > 100_000 || c.StartSeconds <= 0 {
		t.Errorf("agent: %+v", c)
	}
	// The in-flight table has 15 MiB, the table of connections behind its slots 1.3, the ring 2.
	if m.KernelBytes < 18<<20 || m.KernelBytes > kernelLimit {
		t.Errorf("%d bytes in the kernel", m.KernelBytes)
	}
	var found []string
	for _, held := range m.Maps {
		found = append(found, held.Name)
		if held.Bytes == 0 {
			t.Errorf("map %s takes nothing", held.Name)
		}
	}
	if len(found) < 5 || found[0] != "tracer_journeys" || found[1] != "tracer_inflight" {
		t.Errorf("maps %q", found)
	}
	if len(m.Programs) < 8 {
		t.Errorf("%d programs, want at least those of one pod and one uplink", len(m.Programs))
	}
	for _, p := range m.Programs {
		if p.Instructions == 0 || p.JITBytes == 0 {
			t.Errorf("program %+v", p)
		}
	}
}

// TestMeasureScale has a quiet agent and one with pods that have a device each.
func TestMeasureScale(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	loads := []nodeLoad{
		{Flows: 0, Pods: 2, Devices: 2, Rate: 100, Watch: 100 * time.Millisecond},
		{Flows: 6, Pods: 3, Devices: 3, Rate: 500, Watch: time.Second},
	}
	costs, err := measureScale(t.Context(), loads)
	if err != nil {
		t.Fatal(err)
	}
	if quiet := costs[0]; quiet.CPUSeconds != 0 || quiet.ProgramNs != 0 || quiet.ResidentBytes == 0 {
		t.Errorf("nobody sent: %+v", quiet)
	}
	if c := costs[1]; c.Records < 500 || c.CPUSeconds <= 0 || c.Flows != 6 {
		t.Errorf("%+v", c)
	}
}

// TestMeasureView has a view come and go. What it costs is for a machine that is left alone: here it only is plausible. What a question takes is
// not even that: it is a difference, which is nothing where the agent gets all the CPU time that is left in both.
func TestMeasureView(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	c, err := measureView(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if c.Share <= 0 || c.ResidentBytes < 5<<20 || c.FirstFrameMs <= 0 || c.AgentShare <= 0 {
		t.Errorf("%+v", c)
	}
}
