package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
	"tracer/internal/cluster"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// shows is an agent that streams one flow of which it knows its own end alone, and counts how often it is asked.
func shows(node string, direction journey.Direction, asked *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/overview" {
			fmt.Fprintf(w, `{"path":%q,"query":%q}`, r.URL.Path, r.URL.RawQuery)
			return
		}
		asked.Add(1)
		q, err := overview.ParseQuery(r.URL.Query())
		if err != nil || q.By != overview.ByFlow || q.Limit < 10 || q.Limit > MaxFlows {
			http.Error(w, "an unbounded or wrong query", http.StatusBadRequest)
			return
		}
		flow := overview.Row{
			Src: overview.Party{Workload: "_unknown", Address: "10.244.1.2:4000"}, Dst: overview.Party{Workload: "_unknown", Address: "10.244.2.2:80"},
			Protocol: "tcp", Service: "10.96.0.10:80", Direction: direction, PacketsPerSecond: 10,
		}
		own := &flow.Src
		if direction == journey.In {
			own = &flow.Dst
		}
		own.Namespace, own.Workload = "shop", node
		o := overview.Overview{Taken: time.Now(), Verdict: diagnose.Healthy, About: overview.About{Node: node}, PacketsPerSecond: 10}
		_ = json.NewEncoder(w).Encode(o) // flows are not counted yet
		o.Rows, o.RowsTotal = []overview.Row{flow}, 1
		_ = json.NewEncoder(w).Encode(o)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// TestSite: the page of a cluster has each node's answer, a pair once though each agent knows but one of its names, who did not answer with why, and each node by itself.
func TestSite(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b", "old", "hangs")
	meta := func(kind string) metav1.TypeMeta { return metav1.TypeMeta{APIVersion: "v1", Kind: kind} }
	pod := func(name, node, address string) corev1.Pod {
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: corev1.PodSpec{NodeName: node},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}}},
		}
	}
	s.Objects = map[string]any{
		"/api/v1/pods": &corev1.PodList{TypeMeta: meta("PodList"), Items: []corev1.Pod{pod("a", "a", "10.244.1.2"), pod("b", "b", "10.244.2.2")}},
		"/api/v1/services": &corev1.ServiceList{TypeMeta: meta("ServiceList"), Items: []corev1.Service{{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "front"}, Spec: corev1.ServiceSpec{ClusterIPs: []string{"10.96.0.10"}},
		}}},
	}
	release := make(chan struct{})
	t.Cleanup(func() { close(release) })
	var asked atomic.Int64
	s.Connect = func(node string, c net.Conn) {
		defer c.Close()
		switch node {
		case "a":
			agentstest.Serve(c, shows("a", journey.Out, &asked))
		case "b":
			agentstest.Serve(c, shows("b", journey.In, &asked))
		case "old":
			agentstest.Serve(c, http.NotFoundHandler())
		default:
			<-release
		}
	}
	c := clusterOf(t, s)
	t.Cleanup(func() {
		if err := c.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	site := NewSite(c, 5*time.Second)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		site.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil))
		return w.Code, w.Body.String()
	}
	code, text := get("/v1/cluster")
	var o cluster.Whole
	if err := json.Unmarshal([]byte(text), &o); err != nil || code != 200 {
		t.Fatalf("%d %v: %s", code, err, text)
	}
	if len(o.Pairs) != 1 || len(o.Pairs[0].Halves) != 2 || o.Pairs[0].PacketsPerSecond != 10 {
		t.Fatalf("pairs: %+v", o.Pairs)
	}
	if p := o.Pairs[0]; p.Src.String() != "shop/a" || p.Dst.String() != "shop/b" || p.Service != "shop/front" || p.Halves[0].Dst.String() != "_unknown" {
		t.Errorf("%+v", p)
	}
	why := map[string]string{}
	for _, n := range o.Nodes {
		why[n.Name] = n.Error
	}
	if len(o.Nodes) != 4 || why["a"] != "" || why["b"] != "" || !strings.Contains(why["old"], "another version") || !strings.Contains(why["hangs"], "no answer within 5s") {
		t.Errorf("nodes: %v", why)
	}
	if o.Verdict != diagnose.Blind {
		t.Errorf("two did not answer, and it says %s", o.Verdict)
	}
	if _, again := get("/v1/cluster"); again != text || asked.Load() != 2 {
		t.Errorf("asked %d times at once", asked.Load())
	}
	if code, text := get("/v1/cluster?filter=dst=shop/b+service=front"); code != 200 || !strings.Contains(text, `"pairs":[{`) {
		t.Errorf("a name that one agent alone knows: %d %s", code, text)
	}
	if code, text := get("/v1/cluster?filter=dst=shop/a"); code != 200 || !strings.Contains(text, `"pairs":[]`) || asked.Load() != 2 {
		t.Errorf("none: %d %s, after %d questions", code, text, asked.Load())
	}
	if code, text := get("/v1/cluster?filter=p99%3Esoon"); code != 400 || !strings.Contains(text, "soon") {
		t.Errorf("a wrong filter: %d %s", code, text)
	}
	if code, text := get("/v1/nodes/a/incidents/x/overview?frame=3"); code != 200 || text != `{"path":"/v1/incidents/x/overview","query":"frame=3"}` {
		t.Errorf("one node: %d %s", code, text)
	}
	if code, text := get("/v1/nodes/none/status"); code != 502 || !strings.Contains(text, `there is no node`) {
		t.Errorf("no node: %d %s", code, text)
	}
	streams := s.Execs["websocket"]
	for range 3 {
		if code, _ := get("/v1/nodes/a/status"); code != 200 {
			t.Error(code)
		}
	}
	if s.Execs["websocket"] != streams {
		t.Errorf("%d streams more for three requests", s.Execs["websocket"]-streams)
	}
}

// TestEmptySite: where no node has an agent the page is told so, and what to do.
func TestEmptySite(t *testing.T) {
	t.Parallel()
	site := NewSite(clusterOf(t, agentstest.New(t)), 5*time.Second)
	for _, path := range []string{"/v1/cluster", "/v1/nodes/a/overview"} {
		w := httptest.NewRecorder()
		site.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1"+path, nil))
		if text := w.Body.String(); w.Code != http.StatusBadGateway || !strings.Contains(text, "no agent in namespace") || !strings.Contains(text, "install the chart") {
			t.Errorf("%s: %d %s", path, w.Code, text)
		}
	}
}
