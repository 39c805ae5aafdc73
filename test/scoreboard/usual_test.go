package main

import (
	"path/filepath"
	"testing"
	"time"

	"tracer/internal/agent"
	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/statefile"
)

// An agent must know what it is said to have learnt.
func TestWriteUsual(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := writeUsual(dir, map[string]time.Duration{"node2": 2 * time.Millisecond}, map[string]time.Duration{"default/client > default/server": 3 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	var file struct {
		Version int                     `json:"version"`
		Peers   []diagnose.PeerBaseline `json:"peers"`

		Requests []diagnose.RequestBaseline `json:"requests"`
	}
	if err := statefile.Read(filepath.Join(dir, "usual.json"), agent.BaselineVersion, &file); err != nil {
		t.Fatal(err)
	}
	var learned diagnose.Baseline
	learned.RestorePeers(file.Peers)
	if got := learned.PeerRTT()[diagnose.PeerKey{Node: "node2", Handshake: true}]; got != 0.002 {
		t.Errorf("%v is known, want 2 ms", learned.PeerRTT())
	}
	learned.RestoreRequests(file.Requests, time.Now())
	asked := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "client", DstNamespace: "default", DstWorkload: "server"}
	if got := learned.UsualRequests()[asked]; got != 0.003 {
		t.Errorf("%v is known of requests, want 3 ms", learned.UsualRequests())
	}
}
