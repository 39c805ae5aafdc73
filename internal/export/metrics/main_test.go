package metrics

import (
	"log/slog"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/export/exporttest"
	"tracer/internal/netdev"
)

// No server may leave a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func testStatus() api.Status {
	hook := func(name, device string, role netdev.Role, up bool) api.HookStatus {
		return api.HookStatus{Program: "p", Hook: name, Device: device, Role: role, Up: up}
	}
	return api.Status{
		Version: "v1.2.3", Node: "node-1", Kernel: "6.18.0", Netns: 4026531840, Started: exporttest.Noon.Add(-time.Hour),
		Hooks: []api.HookStatus{
			hook("kfree_skb", "", netdev.RoleOther, true),
			hook("ingress", "cali1", netdev.RolePod, true),
			hook("ingress", "cali2", netdev.RolePod, false),
			hook("ingress", "cali3", netdev.RolePod, true),
			hook("egress", "tunl0", netdev.RoleOverlay, true),
		},
		Reattached:     []api.ReattachedHook{{Hook: "ingress", Device: "pod", Count: 2}},
		Omitted:        []api.OmittedHook{{Hook: "tc", Device: "docker0", Reason: "a bridge"}},
		Journeys:       map[string]uint64{"finished": 900, "dropped": 15, "vanished_ingress": 3},
		Lost:           map[string]uint64{"journey": 2, "drop": 0, "split": 0},
		WatchedOneIn:   4,
		LeftOut:        map[string]uint64{"not_alternating": 2, "no_room": 0},
		SampleRatio:    0.25,
		SampleOneIn:    16,
		SampleBudget:   8,
		Programs:       []api.ProgramStatus{{Program: "tracer_xmit", Runs: 10, Seconds: 0.001, RecursionMisses: 1}},
		IdentityMisses: 5,
		IdentityEarly:  3,
		LastRead:       exporttest.Noon.Add(-time.Second),
		Hooked:         true,
	}
}

// fakeSource is a Source of what a test puts in.
type fakeSource struct {
	snapshot *aggregate.Snapshot
	devices  []netdev.Device
	status   api.Status
	findings api.ActiveFindings

	mu        sync.Mutex
	snapshots int // that were taken
}

func newSource() *fakeSource {
	s := &fakeSource{
		snapshot: exporttest.Snapshot(), devices: exporttest.Devices(), status: testStatus(), findings: api.ActiveFindings{Judged: exporttest.Noon},
	}
	for _, f := range exporttest.Report().Findings {
		active := diagnose.ActiveFinding{Finding: f, Since: exporttest.Noon.Add(-time.Hour)}
		s.findings.Coverage = exporttest.Report().Coverage
		s.findings.Findings = append(s.findings.Findings, api.ActiveFinding{ActiveFinding: active, Role: netdev.RoleOverlay})
	}
	return s
}

func (s *fakeSource) SnapshotWithoutFlows() *aggregate.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots++
	return s.snapshot
}

func (s *fakeSource) Devices() []netdev.Device           { return s.devices }
func (s *fakeSource) Status() api.Status                 { return s.status }
func (s *fakeSource) ActiveFindings() api.ActiveFindings { return s.findings }
