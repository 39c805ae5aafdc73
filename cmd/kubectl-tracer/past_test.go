package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"tracer/internal/agents/agentstest"
	"tracer/internal/cluster"
	"tracer/internal/diagnose"
)

// prometheusOf answers each expression that contains a text with a result.
func prometheusOf(t *testing.T, results map[string]string) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		kind := "vector"
		if r.URL.Path == "/api/v1/query_range" {
			kind = "matrix"
		}
		result := ""
		for text, has := range results {
			if strings.Contains(r.URL.Query().Get("query"), text) {
				result = has
			}
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":[%s]}}`, kind, result)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestDiagnoseByPrometheus asks those that have findings, those of which Prometheus has nothing, and those at the other ends of what these see;
// the others it leaves alone.
func TestDiagnoseByPrometheus(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "hurts", "peer", "quiet", "unknown")
	s.Objects = shop("hurts", "peer", "quiet", "unknown")
	var mu sync.Mutex
	asked := map[string]bool{}
	s.Connect = func(node string, c net.Conn) {
		mu.Lock()
		asked[node] = true
		mu.Unlock()
		agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			report := diagnose.Report{Node: node, Verdict: diagnose.Healthy, Summary: "fine"}
			if node == "hurts" {
				report.Verdict = diagnose.Fault
				report.Findings = []diagnose.Finding{{
					Kind: diagnose.KindDelay, Cause: diagnose.RemoteDelay, Severity: diagnose.Critical, Text: "late", PairsTotal: 1,
					Pairs: []diagnose.Pair{{Src: "shop/hurts", Dst: "10.244.2.2", Addresses: &diagnose.PairAddresses{
						Src: netip.MustParseAddr("10.244.1.2"), Dst: netip.MustParseAddr("10.244.2.2"),
					}}},
				}}
			}
			if r.URL.Path == "/v1/status" {
				fmt.Fprint(w, `{"version":"v1"}`)
				return
			}
			_ = json.NewEncoder(w).Encode(report)
		}))
	}
	c := clusterOf(t, s.Config())
	client, err := c.Prometheus(t.Context(), prometheusOf(t, map[string]string{
		"tracer_build_info": `{"metric":{"node":"hurts"},"value":[1,"1"]},{"metric":{"node":"peer"},"value":[1,"1"]},{"metric":{"node":"quiet"},"value":[1,"1"]}`,
		"tracer_finding":    `{"metric":{"node":"hurts","instance":"192.0.2.1:9435"},"value":[1,"1"]}`,
	}))
	if err != nil {
		t.Fatal(err)
	}
	r, err := diagnoseCluster(t.Context(), c, clusterQuery{past: &past{client: client}, window: time.Second, limit: time.Minute}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if !asked["hurts"] || !asked["peer"] || !asked["unknown"] || asked["quiet"] {
		t.Errorf("asked %v", asked)
	}
	if r.Verdict != diagnose.Fault || len(r.Nodes) != 4 || r.Summary != "the wire between hurts and peer: late" {
		t.Errorf("%s: %s, %+v", r.Verdict, r.Summary, r.Nodes)
	}
}

// TestPrometheusOfSeveral takes nothing of other clusters in one Prometheus, whose nodes may have the same names.
func TestPrometheusOfSeveral(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a", "b")
	s.Objects = shop("a", "b")
	c := clusterOf(t, s.Config())
	selectors := regexp.MustCompile(`tracer_[a-z_]+({[^}]*})?`)
	for match, want := range map[string]string{`cluster="a"`: `cluster="a"}`, ` {cluster="a", zone=~"x|y",} `: `cluster="a", zone=~"x|y"}`, "": ""} {
		var mu sync.Mutex
		var found []string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			found = append(found, selectors.FindAllString(r.URL.Query().Get("query"), -1)...)
			mu.Unlock()
			kind := "vector"
			if r.URL.Path == "/api/v1/query_range" {
				kind = "matrix"
			}
			fmt.Fprintf(w, `{"status":"success","data":{"resultType":%q,"result":[]}}`, kind)
		}))
		t.Cleanup(server.Close)
		f := clusterFlags{prometheus: server.URL, prometheusMatch: match}
		p, err := f.past(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := p.split(t.Context(), nil, &cluster.Map{}); err != nil {
			t.Fatal(err)
		}
		if _, err := p.history(t.Context(), c, "shop", "a", "pod/b", time.Now(), time.Hour, time.Minute); err != nil {
			t.Fatal(err)
		}
		if len(found) != 3+2*3 {
			t.Errorf("%q", found)
		}
		for _, one := range found {
			if !strings.HasSuffix(one, want) || strings.Contains(one, ",}") || strings.Contains(one, "{,") {
				t.Errorf("%q asks for %s", match, one)
			}
		}
	}
	if _, err := (&clusterFlags{prometheusMatch: `cluster="a"`}).past(t.Context(), c); err == nil || !strings.Contains(err.Error(), "--prometheus") {
		t.Errorf("of no Prometheus: %v", err)
	}
}

// TestPrometheusAddress refuses what leads nowhere, and says of a server that is none what it is.
func TestPrometheusAddress(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "a")
	c := clusterOf(t, s.Config())
	for where, want := range map[string]string{
		"prometheus:9090": "give http://HOST:PORT", "svc/prometheus": "give svc/NAMESPACE/NAME:PORT", "auto": "no Service is labelled as Prometheus's", "ftp://x": "give http",
	} {
		if _, err := c.Prometheus(t.Context(), where); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", where, err, want)
		}
	}
	page := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(page.Close)
	client, err := c.Prometheus(t.Context(), page.URL)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), "404 Not Found") {
		t.Error(err)
	}
	// Through the API server's proxy.
	s.Objects = map[string]any{"/api/v1/namespaces/monitoring/services/prometheus:9090/proxy/api/v1/query": map[string]any{
		"status": "success", "data": map[string]any{"resultType": "vector", "result": []any{map[string]any{"metric": map[string]string{"node": "a"}, "value": []any{1, "2"}}}},
	}}
	client, err = c.Prometheus(t.Context(), "svc/monitoring/prometheus:9090")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := client.Query(t.Context(), "up"); err != nil || len(got) != 1 || got[0].Points[0].Value != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

// historyOf is a pair's, of a server that has something of the way there.
func historyOf(t *testing.T, results map[string]string) *pairHistory {
	t.Helper()
	s := agentstest.New(t, "a", "b")
	s.Objects = shop("a", "b")
	c := clusterOf(t, s.Config())
	client, err := c.Prometheus(t.Context(), prometheusOf(t, results))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_000_000_000, 0)
	h, err := (&past{client: client}).history(context.Background(), c, "shop", "a", "pod/b", now, 24*time.Hour, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHistory(t *testing.T) {
	t.Parallel()
	end := int64(1_000_000_000 / 1800 * 1800)
	h := historyOf(t, map[string]string{
		`tracer_stage_delay_seconds{src_namespace="shop",src_workload=~"a",dst_namespace="shop",dst_workload=~"b"}[1800s]`: fmt.Sprintf(
			`{"metric":{"node":"a","stage":"queue","device":"tunl0","direction":"out"},"values":[[%d,"0.001"],[%d,"0.5"],[%d,"NaN"],[%d,"0.25"]]}`, end-86400, end-3600, end-1800, end),
		`tracer_pair_drops_total{src_namespace="shop",src_workload=~"a"`: fmt.Sprintf(
			`{"metric":{"instance":"192.0.2.1:9435","stage":"queue","device":"tunl0","reason":"QDISC_DROP"},"values":[[%d,"1.5"]]}`, end-3600),
	})
	if len(h.Series) != 2 || h.Series[0].Way != "there" || h.Series[0].What != whatP99 || h.Series[0].Node != "a" || h.Series[1].Node != "192.0.2.1:9435" || h.Series[1].Reason != "QDISC_DROP" {
		t.Fatalf("%+v", h.Series)
	}
	p := h.Series[0].Points
	if len(p) != historyColumns+1 || *p[0] != 0.001 || *p[len(p)-3] != 0.5 || p[len(p)-2] != nil || *p[len(p)-1] != 0.25 || h.StepSeconds != 1800 {
		t.Errorf("%d points, step %v", len(p), h.StepSeconds)
	}
	var text bytes.Buffer
	if err := h.writeText(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"pod/a → pod/b", "there", "tunl0", "p99", "250ms", "500ms", "█", "lost/s QDISC_DROP", "1.5"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("no %q in\n%s", want, &text)
		}
	}
	text.Reset()
	if err := historyOf(t, nil).writeText(&text); err != nil || !strings.Contains(text.String(), "nothing of this pair") {
		t.Errorf("%v: %s", err, &text)
	}
}

func TestDays(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"7d": 7 * 24 * time.Hour, "24h": 24 * time.Hour, "90m": 90 * time.Minute} {
		var d days
		if err := d.Set(text); err != nil || time.Duration(d) != want {
			t.Errorf("%s: %v, %v", text, d, err)
		}
	}
	if err := new(days).Set("a while"); err == nil {
		t.Error("a while is taken")
	}
}
