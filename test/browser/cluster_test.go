package browser

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"tracer/internal/cluster"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
	"tracer/internal/ui"
)

// nodes answers as a cluster's site does: node a is healthy, on b a queue holds packets, c does not answer.
func nodes() http.Handler {
	half := func(direction journey.Direction, p99 float64, slow bool) []overview.Row {
		return []overview.Row{{
			Src: overview.Party{Namespace: "shop", Workload: hostile[0], Address: "10.244.1.2:4000"}, Dst: overview.Party{Namespace: "shop", Workload: "api", Address: "10.244.2.2:80"},
			Protocol: "tcp", Direction: direction, PacketsPerSecond: 10, Path: &overview.Delay{P50: p99 / 2, P99: p99}, Pain: p99,
			Stages: []overview.Stage{{Place: overview.Place{Stage: journey.Queue, Device: "tunl0"}, Slow: slow, Delay: &overview.Delay{P50: p99 / 2, P99: p99}}},
		}}
	}
	seen := []cluster.Seen{
		{Node: "node-a", Overview: &overview.Overview{Taken: time.Now(), Verdict: diagnose.Healthy, Rows: half(journey.Out, 1e-5, false), RowsTotal: 1}},
		{Node: "node-b", Overview: &overview.Overview{
			Taken: time.Now(), Verdict: diagnose.Fault, Summary: "tunl0 ingress queue holds packets", Rows: half(journey.In, 0.5, true), RowsTotal: 1,
			Findings: []diagnose.Finding{{
				Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Stage: journey.Queue, Device: "tunl0", Direction: journey.In, Text: "tunl0 queue holds packets " + hostile[0],
				Next: []string{"tc -s qdisc show dev tunl0"}, Confidence: 1,
			}},
		}},
		{Node: "node-c", Err: errors.New("no agent runs there")},
	}
	agent := agentOf(3, new(atomic.Bool))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/cluster", func(w http.ResponseWriter, r *http.Request) {
		filter, err := overview.ParseFilter(r.URL.Query().Get("filter"))
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"error": "parse query: filter: " + err.Error()})
			return
		}
		_ = json.NewEncoder(w).Encode(cluster.NewWhole(seen, cluster.Map{}, filter, 400, "there may be nodes without an agent: your account may not list nodes"))
	})
	mux.HandleFunc("GET /v1/nodes/{node}/overview", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = "/v1/overview"
		agent.ServeHTTP(w, r)
	})
	return mux
}

// TestCluster: all nodes stand on one page, a pair once, and each node's own page is one click from there.
func TestCluster(t *testing.T) {
	server, err := ui.New(ui.Options{Agent: nodes(), Cluster: true})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(t.Context()) }()
	b := newTab(t)
	b.do(chromedp.Navigate(server.URL()))
	b.await(`document.querySelector('.verdict.fault') && document.querySelector('.finding.critical .command')`)
	b.says("your account may not list nodes")
	b.says("No answer: no agent runs there")
	b.says("queue tunl0 on node-b")
	b.says(hostile[0])
	if rows := value[int](b, `document.querySelectorAll('[aria-labelledby=pairs] tbody tr').length`); rows != 1 {
		t.Errorf("the pair is there %d times", rows)
	}
	if first := value[string](b, `document.querySelector('[aria-labelledby=nodes] tbody tr').innerText`); !strings.HasPrefix(first, "node-b") {
		t.Errorf("the first node is %s", first)
	}
	b.accessible("a cluster")
	b.quiet()

	// To a node, by keyboard; and back.
	b.do(chromedp.Focus(chromedp.CSS(`[aria-labelledby=nodes] tbody a`)), chromedp.KeyEvent(kb.Enter))
	b.await(`location.hash === '#/at/node-b/' && /^3 pairs/.test(document.querySelector('#filter-help')?.innerText)`)
	b.accessible("a node of a cluster")
	b.click(`#main table a[href^="#/at/node-b/pair/"]`)
	b.await(`document.querySelector('.picture svg .title')`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`location.hash === '#/at/node-b/'`)
	b.await(`document.querySelector('#filter') && document.activeElement === document.querySelector('#main')`)
	b.do(chromedp.KeyEvent(kb.Escape))
	b.await(`location.hash === '#/' && document.querySelector('#nodes')`)
	b.filter("p99>soon")
	b.await(`document.querySelector('#filter[aria-invalid=true]')`)
	b.forget() // that request was refused
	b.filter("")
	b.await(`document.querySelector('#filter[aria-invalid=false]')`)
	b.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	b.fits()
	b.accessible("a cluster, on a phone")
	b.quiet()
}
