package k8srig

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// node is the address of the namespace that stands for a node.
const node = "10.200.0.1"

// TestAPI runs the agent, as it is shipped and with its own rights, beside a real API server.
func TestAPI(t *testing.T) {
	c, err := StartControlPlane(t.Context(), ControlPlaneOptions{Tools: tools(t), Dir: t.TempDir(), Address: Fabric})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	client, err := c.Client()
	if err != nil {
		t.Fatal(err)
	}
	if err := AddNode("node1", node); err != nil {
		t.Fatal(err)
	}
	binary, err := Tracer(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const most = 32_000_000
	if info, err := os.Stat(binary); err != nil {
		t.Fatal(err)
	} else if info.Size() > most {
		t.Errorf("the program has %d bytes, more than %d", info.Size(), most)
	} else {
		t.Logf("the program has %d bytes", info.Size())
	}
	namespace(t, client, "shop")
	s := &apiSuite{cluster: c, client: client, binary: binary}
	t.Run("reuse", s.reuse)
	t.Run("variants", s.variants)
	t.Run("installed", s.installed)
	t.Run("rights", s.rights)
	t.Run("restart", s.restart)
	t.Run("memory", s.memory)
}

type apiSuite struct {
	cluster *ControlPlane
	client  *kubernetes.Clientset
	binary  string
}

// namespace makes a namespace in which pods are accepted: without controllers nobody makes the default account.
func namespace(t testing.TB, client kubernetes.Interface, name string) {
	t.Helper()
	ctx := t.Context()
	if _, err := client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	if _, err := client.CoreV1().ServiceAccounts(name).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// agent starts one with rights that an administrator has, unless args say otherwise.
func (s *apiSuite) agent(t *testing.T, env []string, args ...string) *Agent {
	t.Helper()
	a, err := StartAgent(t.Context(), s.binary, t.TempDir(), "node1", node, env, args...)
	if a != nil {
		t.Cleanup(a.Stop)
	}
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func (s *apiSuite) asAdmin(t *testing.T) []string {
	return []string{"--kubeconfig", s.cluster.Kubeconfig(Admin), "--node-name", "node1", "--state-dir", t.TempDir()}
}

// memory compares the agent without names with one that knows 250 pods of its node, and with one that knows 5,000 of
// the cluster, in both ways that the API server hands them out.
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
	peak := func(t *testing.T, kinds int, env []string, args ...string) float64 {
		a := s.agent(t, env, args...)
		defer a.Stop()
		if kinds > 0 {
			if err := a.Synced(t.Context(), kinds); err != nil {
				t.Fatal(err)
			}
		}
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
