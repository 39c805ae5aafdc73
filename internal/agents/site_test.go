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

// shows is an agent that streams overviews of one pair, and counts how often it is asked.
func shows(node string, direction journey.Direction, asked *atomic.Int64) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/overview" {
			fmt.Fprintf(w, `{"path":%q,"query":%q}`, r.URL.Path, r.URL.RawQuery)
			return
		}
		asked.Add(1)
		q, err := overview.ParseQuery(r.URL.Query())
		if err != nil || q.Limit < 5 || q.Limit > 100 {
			http.Error(w, "an unbounded or wrong query", http.StatusBadRequest)
			return
		}
		_ = json.NewEncoder(w).Encode(overview.Overview{
			Taken: time.Now(), Verdict: diagnose.Healthy, About: overview.About{Node: node}, RowsTotal: 1, PacketsPerSecond: 10,
			Rows: []overview.Row{{
				Src: overview.Party{Namespace: "shop", Workload: "web"}, Dst: overview.Party{Namespace: "shop", Workload: "api"}, Direction: direction, PacketsPerSecond: 10,
			}},
		})
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
}

// TestSite: the page of a cluster has each node's answer, a pair once, who did not answer with why, and each node by itself.
func TestSite(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b", "old", "hangs")
	s.Objects = map[string]any{"/api/v1/pods": &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}}
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
		t.Errorf("pairs: %+v", o.Pairs)
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
