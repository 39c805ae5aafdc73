package k8srig

import (
	"os"
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
	const most = 36_000_000
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

// asAdmin are arguments that give an agent those rights, under a name of its own.
func (s *apiSuite) asAdmin(t *testing.T) []string {
	return []string{"--kubeconfig", s.cluster.Kubeconfig(audited), "--node-name", "node1", "--state-dir", t.TempDir()}
}
