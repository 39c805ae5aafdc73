package k8srig

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

var loadPods = flag.Int("load-pods", 2000, "pods of BenchmarkAPILoad, 50 on each node and 20 behind each Service")

// BenchmarkAPILoad measures what one agent asks of the API server: bytes to know all, and bytes per second while pods
// come and go. Every other agent asks the same.
//
//	CGO_ENABLED=0 go test -trimpath -gcflags 'all=-dwarf=false -l' -run '^$' -bench APILoad -timeout 2h -load-pods 100000
func BenchmarkAPILoad(b *testing.B) {
	const perNode, perService, changes = 50, 20, 200
	c, err := StartControlPlane(b.Context(), ControlPlaneOptions{Tools: tools(b), Dir: b.TempDir(), Address: Fabric})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Stop)
	client, err := c.Client()
	if err != nil {
		b.Fatal(err)
	}
	namespace(b, client, "shop")
	var pods []SeedPod
	for i := range *loadPods {
		service := i % (*loadPods / perService) // its pods are on many nodes
		pods = append(pods, SeedPod{
			Namespace: "shop", Name: fmt.Sprintf("work-%d-7d9c6b5f4-%d", service, i), Workload: fmt.Sprintf("work-%d", service),
			Node: fmt.Sprintf("node%d", 1+i/perNode), IP: fmt.Sprintf("10.%d.%d.%d", 100+i>>16, i>>8&255, i&255), Weight: 1000,
		})
	}
	var services []SeedService
	for i := range *loadPods / perService {
		s := SeedService{Namespace: "shop", Name: fmt.Sprintf("work-%d", i), IP: fmt.Sprintf("10.96.%d.%d", 1+i>>8, i&255)}
		for k := i; k < len(pods); k += *loadPods / perService {
			s.Backends = append(s.Backends, pods[k])
		}
		services = append(services, s)
	}
	begin := time.Now()
	if err := SeedAll(b.Context(), client, pods, services); err != nil {
		b.Fatal(err)
	}
	b.Logf("seeded %d pods and %d Services in %v", len(pods), len(services), time.Since(begin).Round(time.Second))
	if err := AddNode("node1", node); err != nil {
		b.Fatal(err)
	}
	binary, err := Tracer(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	for _, scope := range []string{"node", "cluster"} {
		kinds := 3
		if scope == "cluster" {
			kinds = 2
		}
		before := received(b)
		a, err := StartAgent(b.Context(), binary, b.TempDir(), "node1", node, nil, "--kubeconfig", c.Kubeconfig(Admin),
			"--node-name", "node1", "--state-dir", b.TempDir(), "--identity-scope", scope)
		if err != nil {
			b.Fatal(err)
		}
		if err := a.Synced(b.Context(), kinds); err != nil {
			b.Fatal(err)
		}
		known := received(b)
		now, peak, err := a.Memory()
		if err != nil {
			b.Fatal(err)
		}
		begin := time.Now()
		for i := range changes {
			change(b, client, pods[i*len(pods)/changes])
		}
		took := time.Since(begin)
		time.Sleep(time.Second)
		perChange := float64(received(b)-known) / changes
		b.Logf("%s scope: %.2f MB to know all; %.0f bytes for a change, at %.0f changes/s; resident %.1f MiB, at most %.1f MiB", scope,
			float64(known-before)/1e6, perChange, changes/took.Seconds(), float64(now)/(1<<20), float64(peak)/(1<<20))
		a.Stop()
	}
	if _, peak, err := c.APIServer().Memory(); err == nil {
		b.Logf("API server: at most %d MiB resident", peak>>20)
	}
}

// received is how much has come into the agent's namespace.
func received(b *testing.B) uint64 {
	b.Helper()
	cmd := Netns("node1", "cat", "/proc/net/dev")
	out, err := output(cmd)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(out) {
		if name, counts, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && name == "eth0" {
			n, err := strconv.ParseUint(strings.Fields(counts)[0], 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n
		}
	}
	b.Fatal("no eth0")
	return 0
}

// change replaces a pod by another one, as a rolling update does, and tells its Service's EndpointSlice.
func change(b *testing.B, client *kubernetes.Clientset, p SeedPod) {
	b.Helper()
	now := int64(0)
	if err := client.CoreV1().Pods(p.Namespace).Delete(b.Context(), p.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		b.Fatal(err)
	}
	if err := Seed(b.Context(), client, p); err != nil {
		b.Fatal(err)
	}
	slices := client.DiscoveryV1().EndpointSlices(p.Namespace)
	slice, err := slices.Get(b.Context(), p.Workload+"-1", metav1.GetOptions{})
	if err != nil {
		b.Fatal(err)
	}
	for i := range slice.Endpoints {
		if slice.Endpoints[i].TargetRef.Name == p.Name {
			slice.Endpoints[i].TargetRef.UID += "+"
		}
	}
	if _, err := slices.Update(b.Context(), slice, metav1.UpdateOptions{}); err != nil {
		b.Fatal(err)
	}
}
