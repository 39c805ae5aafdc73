package main

import (
	"os"
	"testing"
	"time"
)

// TestMain is the agent where the test below starts this program as one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "-agent" || os.Args[1] == "-viewed" || os.Args[1] == "-view") {
		main()
		return
	}
	os.Exit(m.Run())
}

// TestMeasureMemory has an agent see each flow once.
func TestMeasureMemory(t *testing.T) {
	t.Parallel()
	m, err := measureMemory(t.Context(), 3*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if m.Agent.Records < flows || m.Agent.ResidentBytes < 10<<20 || m.Agent.PeakBytes < m.Agent.ResidentBytes {
		t.Errorf("agent: %+v", m.Agent)
	}
	// The in-flight table has 16 MiB, the ring 4.
	if m.KernelBytes < 20<<20 || m.KernelBytes > kernelLimit {
		t.Errorf("%d bytes in the kernel", m.KernelBytes)
	}
	var found []string
	for _, held := range m.Maps {
		found = append(found, held.Name)
		if held.Bytes == 0 {
			t.Errorf("map %s takes nothing", held.Name)
		}
	}
	if len(found) < 5 || found[0] != "inflight" || found[1] != "records" {
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

// TestMeasureView has a view come and go. What it costs is for a machine that is left alone: here it only is plausible.
func TestMeasureView(t *testing.T) {
	t.Parallel()
	c, err := measureView(t.Context(), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if c.Share <= 0 || c.ResidentBytes < 5<<20 || c.FirstFrameMs <= 0 || c.AgentShare <= 0 {
		t.Errorf("%+v", c)
	}
}
