package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"tracer/internal/agents"
	"tracer/internal/agents/agentstest"
	"tracer/internal/pairpath"
)

// TestMain silences client-go, which logs of each stream how it ended.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	m.Run()
}

func pod(name, node, ip string) corev1.Pod {
	return corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

// shop has a pod each on some nodes, named as its node.
func shop(nodes ...string) map[string]any {
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	for i, n := range nodes {
		list.Items = append(list.Items, pod(n, n, fmt.Sprintf("10.244.%d.2", i+1)))
	}
	return map[string]any{"/api/v1/pods": list}
}

func clusterOf(t *testing.T, config *rest.Config) *agents.Cluster {
	t.Helper()
	c, err := agents.New(config, "tracer")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestWatchPath asks the nodes of both ends, of which one answers and others do not: each is told with why.
func TestWatchPath(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	s := agentstest.New(t, "well", "hangs", "old", "unconcerned")
	s.Objects = shop("well", "hangs", "old", "bare", "unconcerned")
	s.Connect = func(node string, c net.Conn) {
		defer c.Close()
		switch node {
		case "well":
			agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/v1/path" {
					fmt.Fprint(w, "{}")
					return
				}
				q, err := pairpath.ParseQuery(r.URL.Query())
				if err != nil {
					t.Error(err)
				}
				_ = json.NewEncoder(w).Encode(pairpath.Half{WindowSeconds: q.Window.Seconds(), There: pairpath.Way{Packets: 7}})
			}))
		case "old":
			agentstest.Serve(c, http.NotFoundHandler())
		case "hangs":
			<-release
		default:
			t.Errorf("%s was asked", node)
		}
	}
	c := clusterOf(t, s.Config())
	for other, test := range map[string]struct {
		limit time.Duration
		why   string
	}{
		"bare":        {time.Minute, "no agent runs there"},
		"old":         {time.Minute, "it is of another version; upgrade the agents, or take the plugin of their version"},
		"hangs":       {5 * time.Second, "no answer within "},
		"203.0.113.9": {time.Minute, ""},
	} {
		t.Run(other, func(t *testing.T) {
			t.Parallel()
			p, err := watchPath(t.Context(), c, "shop", "well", other, 100*time.Millisecond, test.limit)
			if err != nil {
				t.Fatal(err)
			}
			if p.WindowSeconds != 0.1 || p.ExitCode() != 0 {
				t.Errorf("%v s, exit code %d", p.WindowSeconds, p.ExitCode())
			}
			for _, n := range p.Nodes {
				switch n.Name {
				case "well":
					if n.Packets != 7 || n.Error != "" {
						t.Errorf("%+v", n)
					}
				case other:
					if !strings.Contains(n.Error, test.why) {
						t.Errorf("%q, want %q", n.Error, test.why)
					}
				default:
					t.Errorf("%s was asked", n.Name)
				}
			}
			if want := map[bool]int{true: 1, false: 2}[test.why == ""]; len(p.Nodes) != want {
				t.Errorf("%d nodes, want %d", len(p.Nodes), want)
			}
		})
	}
}

// TestRefuse has ends of which nothing can be watched.
func TestRefuse(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b")
	s.Objects = shop("a", "b")
	c := clusterOf(t, s.Config())
	for name, test := range map[string]struct{ src, dst, want string }{
		"the same":    {"a", "pod/a", "both ends have 10.244.1.2 (pod/a, pod/a): name one pod of each"},
		"its address": {"a", "10.244.1.2", "both ends have 10.244.1.2 (pod/a, 10.244.1.2): name one pod of each"},
		"outside":     {"203.0.113.9", "203.0.113.10", "neither end is a pod or node of this cluster"},
		"no such":     {"a", "none", "no workload, pod or Service none"},
	} {
		if _, err := watchPath(t.Context(), c, "shop", test.src, test.dst, time.Second, time.Minute); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
	}
}

// TestConcerned takes the agents of the ends' nodes, each once.
func TestConcerned(t *testing.T) {
	t.Parallel()
	all := []agents.Agent{{Node: "a", Pod: "agent-a"}, {Node: "b", Why: "its pod is pending"}, {Node: "c", Pod: "agent-c"}}
	got, missing, err := concerned(all, agents.End{Nodes: []string{"a", "b"}}, agents.End{Nodes: []string{"b", "z"}})
	if err != nil || fmt.Sprint(got) != "[{a agent-a }]" {
		t.Errorf("%v, %v", got, err)
	}
	if len(missing) != 2 || missing[0].Node != "b" || missing[0].Err.Error() != "its pod is pending" || missing[1].Node != "z" || missing[1].Err.Error() != "no agent runs there" {
		t.Errorf("%v cannot be asked", missing)
	}
	var many agents.End
	for i := range maxPathNodes + 1 {
		many.Nodes = append(many.Nodes, fmt.Sprint(i))
		all = append(all, agents.Agent{Node: fmt.Sprint(i), Pod: "agent"})
	}
	if _, _, err := concerned(all, many); err == nil || !strings.Contains(err.Error(), "these are on 33 nodes") {
		t.Error(err)
	}
}

// TestSlowServer has an API server that does not answer: the command ends, and says why. One that is interrupted ends too.
func TestSlowServer(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-release:
		}
	}))
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(release) })
	c := clusterOf(t, &rest.Config{Host: server.URL})
	if _, err := watchPath(t.Context(), c, "shop", "a", "b", time.Second, 50*time.Millisecond); err == nil || err.Error() != "the API server took more than 50ms: give it more by --timeout" {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := watchPath(ctx, c, "shop", "a", "b", time.Second, time.Minute); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Error(err)
	}
}
