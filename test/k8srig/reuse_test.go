package k8srig

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// reuse has one pod after the other take the same address, each sending at once, while the API server learns late of
// each end and each beginning, in either order. Each sends to a port of its own: the truth that names are compared with.
func (s *apiSuite) reuse(t *testing.T) {
	const address, sink, firstPort, pods = "10.101.0.7", "10.101.0.9", 20000, 8
	if err := AddPod("node1", "sink", sink); err != nil {
		t.Fatal(err)
	}
	pod := func(name, ip string) *SeedPod {
		return &SeedPod{Namespace: "shop", Name: name, Workload: name, Node: "node1", IP: ip}
	}
	remove := func(name string) {
		t.Helper()
		now := int64(0)
		err := s.client.CoreV1().Pods("shop").Delete(t.Context(), name, metav1.DeleteOptions{GracePeriodSeconds: &now})
		if err != nil {
			t.Error(err)
		}
	}
	if err := Seed(t.Context(), s.client, *pod("sink", sink)); err != nil {
		t.Fatal(err)
	}
	a := s.agent(t, nil, s.asAdmin(t)...)
	if err := a.Synced(t.Context(), 3); err != nil {
		t.Fatal(err)
	}
	traces, err := Start("trace", t.TempDir(), Netns("node1", s.binary, "trace", "-o", "json", "--pod", sink))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(traces.Stop)

	order := rand.New(rand.NewPCG(1, 2))
	late := func() time.Duration { return time.Duration(order.IntN(1500)) * time.Millisecond }
	for i := range pods {
		name := fmt.Sprintf("pod-%d", i)
		next := pod(name, address)
		if err := next.Create(t.Context(), s.client); err != nil {
			t.Fatal(err)
		}
		if err := AddPod("node1", name, address); err != nil {
			t.Fatal(err)
		}
		stop := send(t, name, sink, firstPort+i, 100)
		before, told := late(), late()
		if i > 0 {
			time.Sleep(before)
			remove(fmt.Sprintf("pod-%d", i-1))
		}
		time.Sleep(told)
		if err := next.Run(t.Context(), s.client); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1500 * time.Millisecond)
		stop()
		if err := RemovePod(name); err != nil {
			t.Fatal(err)
		}
	}
	// Those that wait for a name in vain are told in turn, and last those of a pod that the API server does not know.
	if err := AddPod("node1", "stranger", "10.101.0.8"); err != nil {
		t.Fatal(err)
	}
	stop := send(t, "stranger", sink, firstPort+pods, 100)
	err = Await(t.Context(), time.Minute, "trace the last packets", []*Process{traces}, func() error {
		if last := fmt.Sprintf("%s:%d", sink, firstPort+pods); !strings.Contains(traces.Output(), last) {
			return fmt.Errorf("no packet to %s", last)
		}
		return nil
	})
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if err := RemovePod("stranger"); err != nil {
		t.Fatal(err)
	}
	traces.Stop()
	asked(t, s.cluster)

	named, unnamed, wrong := map[int]int{}, 0, 0
	for line := range strings.Lines(traces.Output()) {
		var trace struct {
			Src struct {
				Workload string `json:"workload"`
			} `json:"src"`
			First struct {
				Destination string `json:"destination"`
			} `json:"first"`
		}
		if json.Unmarshal([]byte(line), &trace) != nil || !strings.HasPrefix(trace.First.Destination, sink+":") {
			continue
		}
		var port int
		if _, err := fmt.Sscanf(trace.First.Destination, sink+":%d", &port); err != nil {
			t.Fatal(err)
		}
		switch trace.Src.Workload {
		case fmt.Sprintf("pod-%d", port-firstPort):
			named[port-firstPort]++
		case "_unknown":
			unnamed++
		default:
			wrong++
			t.Errorf("a packet of pod-%d is said to be %s's", port-firstPort, trace.Src.Workload)
		}
	}
	if t.Failed() {
		t.Logf("agent:\n%s", a.tail())
	}
	t.Logf("%v packets by pod named rightly, %d not named, %d wrongly", named, unnamed, wrong)
	for i := range pods {
		if named[i] == 0 {
			t.Errorf("no packet of pod-%d is named", i)
		}
	}
}

// asked checks all that was asked of the API server by the only agent so far, after changes for a while.
func asked(t *testing.T, c *ControlPlane) {
	t.Helper()
	got, err := c.Requests()
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(got)
	want := []string{"watch endpointslices", "watch pods spec.nodeName=node1", "watch services"}
	if !slices.Equal(got, want) {
		t.Errorf("the agent asked for %q, want %q: one watch for each kind, of this node's pods alone, and nothing else", got, want)
	}
}

// send sends so many packets a second from a pod, until it is told to stop.
func send(t *testing.T, pod, to string, port, perSecond int) (stop func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := Netns(pod, self, "send", net.JoinHostPort(to, fmt.Sprint(port)), fmt.Sprint(perSecond))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
}
