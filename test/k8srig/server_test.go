package k8srig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// rights runs the agent with the token of the account that the manifests make.
func (s *apiSuite) rights(t *testing.T) {
	manifest, err := os.ReadFile("../../deploy/tracer.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.cluster.KubectlInput(string(manifest), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	token, err := s.cluster.Kubectl("create", "token", "tracer", "-n", "tracer")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(Kubeconfig(s.cluster.Server(), s.cluster.CA(), strings.TrimSpace(token))), 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"--kubeconfig", kubeconfig, "--node-name", "node1", "--state-dir", t.TempDir()}
	a := s.agent(t, nil, args...)
	if err := a.Synced(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	m, err := a.Metrics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := value(m, "tracer_identity_errors_total"); n != 0 {
		t.Errorf("%v requests failed", n)
	}
	a.Stop()

	// Beyond what every account may do, it may do just that.
	others, rights := s.rules(t, "nobody"), s.rules(t, "tracer")
	for _, rule := range []string{"pods [] [] [list watch]", "services [] [] [list watch]", "endpointslices.discovery.k8s.io [] [] [list watch]"} {
		if !rights[rule] {
			t.Errorf("the agent's rights lack %s", rule)
		}
		delete(rights, rule)
	}
	for rule := range rights {
		if !others[rule] {
			t.Errorf("the agent may do more than it needs: %s", rule)
		}
	}

	// Without the rule for EndpointSlices it says which one is missing, and goes on.
	if _, err := s.cluster.Kubectl("patch", "clusterrole", "tracer", "--type=json",
		`-p=[{"op":"replace","path":"/rules","value":[{"apiGroups":[""],"resources":["pods","services"],"verbs":["list","watch"]}]}]`); err != nil {
		t.Fatal(err)
	}
	a = s.agent(t, nil, args...)
	if err := a.Synced(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	const rule = `{apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]}`
	err = Await(t.Context(), 30*time.Second, "complain", []*Process{a.Process}, func() error {
		if !strings.Contains(strings.ReplaceAll(a.Output(), `\"`, `"`), rule) {
			return fmt.Errorf("no rule in %q", a.Output())
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// rules are what an account of the agent's namespace may do.
func (s *apiSuite) rules(t *testing.T, account string) map[string]bool {
	t.Helper()
	out, err := s.cluster.Kubectl("auth", "can-i", "--list", "--as=system:serviceaccount:tracer:"+account)
	if err != nil {
		t.Fatal(err)
	}
	rules := map[string]bool{}
	for line := range strings.Lines(out) {
		rules[strings.Join(strings.Fields(line), " ")] = true
	}
	return rules
}

// restart takes the API server away and brings it back: names go on, also those of an agent that starts meanwhile.
func (s *apiSuite) restart(t *testing.T) {
	args := s.asAdmin(t)
	a := s.agent(t, nil, args...)
	if err := a.Synced(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	if err := a.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	err := Await(t.Context(), time.Minute, "end, and keep what it knows", nil, func() error {
		select {
		case <-a.done:
			return nil
		default:
			return errNotYet
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	s.cluster.APIServer().Stop()
	a = s.agent(t, nil, args...)
	stale := func(want float64) func() error {
		return func() error {
			m, err := a.Metrics(t.Context())
			if err != nil {
				return err
			}
			if got := value(m, "tracer_identity_stale"); got != want {
				return fmt.Errorf("tracer_identity_stale is %v", got)
			}
			return nil
		}
	}
	if err := Await(t.Context(), time.Minute, "go by what was kept", []*Process{a.Process}, stale(1)); err != nil {
		t.Fatal(err)
	}
	if err := s.cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := Await(t.Context(), 90*time.Second, "hear of the API server again", []*Process{a.Process}, stale(0)); err != nil {
		t.Fatal(err)
	}
	// Once more under a running agent.
	s.cluster.APIServer().Stop()
	if err := s.cluster.StartAPIServer(t.Context()); err != nil {
		t.Fatal(err)
	}
	seen := SeedPod{Namespace: "shop", Name: "after", Workload: "after", Node: "node1", IP: "10.101.9.9"}
	if err := Seed(t.Context(), s.client, seen); err != nil {
		t.Fatal(err)
	}
	if err := AddPod("node1", seen.Name, seen.IP); err != nil {
		t.Fatal(err)
	}
	defer send(t, seen.Name, Fabric, 30000, 100)()
	out, err := output(Netns("node1", s.binary, "trace", "--once", "1", "--pod", "shop/after", "--duration", "60s", "-o", "json"))
	if err != nil || !strings.Contains(out, `"pod":"after"`) {
		t.Errorf("a pod that came after the restart: %v\n%s\n%s", err, out, a.tail())
	}
}
