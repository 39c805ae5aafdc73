package k8srig

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// waiting is how many of the agent's records may wait for names at once, each for a second: governor.DefaultMaxRecords.
const waiting = 20000

// memory compares the agent without names with one that knows 250 pods of its node, and with one that knows 5,000 of
// the cluster, in both ways that the API server hands them out. More packets are followed than may wait for names, of a
// pod that nobody names.
func (s *apiSuite) memory(t *testing.T) {
	var pods []SeedPod
	add := func(node string, n int) {
		for i := range n {
			k := len(pods)
			pods = append(pods, SeedPod{
				Namespace: "shop", Name: fmt.Sprintf("%s-%d", node, i), Workload: fmt.Sprintf("work-%d", k%200), Node: node,
				IP: fmt.Sprintf("10.%d.%d.%d", 100+k>>16, k>>8&255, k&255), Weight: 8000,
			})
		}
	}
	add("node1", 250)
	for n := range 95 {
		add(fmt.Sprintf("other-%d", n), 50)
	}
	var services []SeedService
	for i := range 200 {
		services = append(services, SeedService{
			Namespace: "shop", Name: fmt.Sprintf("work-%d", i), IP: fmt.Sprintf("10.96.1.%d", i+1), Backends: pods[i*25 : i*25+25],
		})
	}
	if err := SeedAll(t.Context(), s.client, pods, services); err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	if err := AddPod("node1", "stranger", "10.102.0.1"); err != nil {
		t.Fatal(err)
	}
	defer send(t, "stranger", Fabric, 30000, 2*waiting)()
	peak := func(t *testing.T, kinds int, env []string, args ...string) float64 {
		a := s.agent(t, env, append(args, "--max-records", "1000000", "--max-cpu", "4")...)
		defer a.Stop()
		if kinds > 0 {
			if err := a.Synced(t.Context(), kinds); err != nil {
				t.Fatal(err)
			}
		}
		follows(t, a, waiting)
		_, peak, err := a.Memory()
		if err != nil {
			t.Fatal(err)
		}
		return float64(peak) / mib
	}
	names := filepath.Join(t.TempDir(), "names.yaml")
	if err := os.WriteFile(names, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	none := peak(t, 0, nil, "--identity-file", names)
	for _, test := range []struct {
		name  string
		limit float64
		kinds int
		env   []string
		args  []string
	}{
		{"node", 15, 3, nil, nil},
		{"node without WatchList", 15, 3, []string{"KUBE_FEATURE_WatchListClient=false"}, nil},
		{"cluster", 45, 2, nil, []string{"--identity-scope=cluster"}},
		{"cluster without WatchList", 45, 2, []string{"KUBE_FEATURE_WatchListClient=false"}, []string{"--identity-scope=cluster"}},
	} {
		more := peak(t, test.kinds, test.env, append(s.asAdmin(t), test.args...)...) - none
		t.Logf("%-26s %5.1f MiB more than %.1f", test.name, more, none)
		if more > test.limit {
			t.Errorf("%s: the agent's peak grew by %.1f MiB, more than %v", test.name, more, test.limit)
		}
	}
}

// follows waits until the agent has followed so many packets a second for longer than any waits for a name.
func follows(t *testing.T, a *Agent, perSecond float64) {
	t.Helper()
	finished := func() (float64, time.Time, error) {
		m, err := a.Metrics(t.Context())
		return value(m, "tracer_journeys_total", "outcome", "finished"), time.Now(), err
	}
	before, since, err := finished()
	if err != nil {
		t.Fatal(err)
	}
	err = Await(t.Context(), 4*time.Minute, "follow many packets", []*Process{a.Process}, func() error {
		count, now, err := finished()
		if err != nil {
			return err
		}
		took := now.Sub(since).Seconds()
		if took < 2 {
			return errNotYet
		}
		rate := (count - before) / took
		before, since = count, now
		if rate < perSecond {
			return fmt.Errorf("%.0f a second", rate)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
