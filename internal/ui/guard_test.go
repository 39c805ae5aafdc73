package ui

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

const token = "TOKEN"

// answered is an agent that says that it was asked.
var answered = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	_, _ = io.WriteString(w, "the agent was asked")
})

// TestGuard: another site's page gets nothing, however it asks, and neither does who does not know the token.
func TestGuard(t *testing.T) {
	t.Parallel()
	ours := map[string]string{TokenHeader: token}
	with := func(more ...string) map[string]string {
		header := map[string]string{TokenHeader: token}
		for i := 0; i < len(more); i += 2 {
			header[more[i]] = more[i+1]
		}
		return header
	}
	for _, tt := range []struct {
		what, method, host, path string
		header                   map[string]string
		code                     int
	}{
		{"the page", "GET", "127.0.0.1:8080", "/", nil, 200},
		{"the page by a forwarded port", "GET", "localhost:9999", "/", nil, 200},
		{"the page by IPv6", "GET", "[::1]:8080", "/", nil, 200},
		{"the page without a port", "GET", "[::1]", "/", nil, 200},
		{"its code", "GET", "127.0.0.1:8080", "/app.js", map[string]string{"Sec-Fetch-Site": "same-origin"}, 200},
		{"the page by a link elsewhere", "GET", "127.0.0.1:8080", "/", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document",
		}, 200},
		{"an overview", "GET", "127.0.0.1:8080", "/v1/overview?by=pair", ours, 200},
		{"an overview, asked by the page", "GET", "127.0.0.1:8080", "/v1/overview", with("Origin", "http://127.0.0.1:8080", "Sec-Fetch-Site", "same-origin"), 200},
		{"incidents", "GET", "127.0.0.1:8080", "/v1/incidents", ours, 200},
		{"an incident", "GET", "127.0.0.1:8080", "/v1/incidents/20260501T030211-nic", ours, 200},
		{"an incident's frame", "GET", "127.0.0.1:8080", "/v1/incidents/20260501T030211-nic/overview?frame=3", ours, 200},
		{"no token for incidents", "GET", "127.0.0.1:8080", "/v1/incidents", nil, 401},
		{"no token for an incident", "GET", "127.0.0.1:8080", "/v1/incidents/last", nil, 401},
		{"another site, for an incident", "GET", "127.0.0.1:8080", "/v1/incidents/last", with("Origin", "https://evil.example"), 403},
		{"a cause", "GET", "127.0.0.1:8080", "/causes/qdisc-delay", ours, 200},
		{"no cause", "GET", "127.0.0.1:8080", "/causes/README2", ours, 404},
		{"the list of causes is none", "GET", "127.0.0.1:8080", "/causes/README", ours, 404},
		{"out of the causes", "GET", "127.0.0.1:8080", "/causes/..%2fdesign", ours, 404},
		{"no token", "GET", "127.0.0.1:8080", "/v1/overview", nil, 401},
		{"a wrong token", "GET", "127.0.0.1:8080", "/v1/status", map[string]string{TokenHeader: "token"}, 401},
		{"no token for a cause", "GET", "127.0.0.1:8080", "/causes/qdisc-delay", nil, 401},
		{"a token in the query", "GET", "127.0.0.1:8080", "/v1/overview?token=" + token, nil, 401},
		{"a name that points here", "GET", "evil.example:8080", "/v1/overview", ours, 403},
		{"a name that points here, for the page", "GET", "evil.example", "/", nil, 403},
		{"a name that looks like ours", "GET", "127.0.0.1.evil.example", "/", nil, 403},
		{"another address", "GET", "10.0.0.1:8080", "/", nil, 403},
		{"no host", "GET", "", "/", nil, 403},
		{"another site", "GET", "127.0.0.1:8080", "/v1/overview", with("Origin", "https://evil.example"), 403},
		{"a page of another port", "GET", "127.0.0.1:8080", "/v1/overview", with("Origin", "http://127.0.0.1:9090"), 403},
		{"a page of no origin", "GET", "127.0.0.1:8080", "/v1/overview", with("Origin", "null"), 403},
		{"another site, without Origin", "GET", "127.0.0.1:8080", "/v1/overview", with("Sec-Fetch-Site", "cross-site"), 403},
		{"a frame elsewhere", "GET", "127.0.0.1:8080", "/", map[string]string{
			"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe",
		}, 403},
		{"a script elsewhere", "GET", "127.0.0.1:8080", "/app.js", map[string]string{"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}, 403},
		{"leave for another site to ask", "OPTIONS", "127.0.0.1:8080", "/v1/overview", map[string]string{
			"Origin": "https://evil.example", "Access-Control-Request-Headers": TokenHeader,
		}, 403},
		{"leave to ask", "OPTIONS", "127.0.0.1:8080", "/v1/overview", nil, 405},
		{"what the page does not need", "GET", "127.0.0.1:8080", "/v1/snapshot", ours, 404},
		{"a change", "POST", "127.0.0.1:8080", "/v1/overview", ours, 405},
	} {
		r := httptest.NewRequestWithContext(context.Background(), tt.method, "http://placeholder"+tt.path, nil)
		r.Host = tt.host
		for name, value := range tt.header {
			r.Header.Set(name, value)
		}
		w := httptest.NewRecorder()
		routes(answered, token, false).ServeHTTP(w, r)
		if w.Code != tt.code {
			t.Errorf("%s: %d, want %d: %s", tt.what, w.Code, tt.code, w.Body)
		}
		if told := strings.Contains(w.Body.String(), "the agent was asked"); told != (tt.code == 200 && strings.HasPrefix(tt.path, "/v1/")) {
			t.Errorf("%s: the agent's answer: %v", tt.what, told)
		}
		for name := range w.Header() {
			if strings.HasPrefix(name, "Access-Control") {
				t.Errorf("%s: leave is given: %s", tt.what, name)
			}
		}
		if got := w.Header().Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'none'; script-src 'self'") {
			t.Errorf("%s: the policy is %q", tt.what, got)
		}
	}
}

// TestClusterRoutes: of a cluster all nodes together and each node are asked by who knows the token, and no node without a name.
func TestClusterRoutes(t *testing.T) {
	t.Parallel()
	for path, code := range map[string]int{
		"/v1/cluster": 200, "/v1/nodes/a/overview": 200, "/v1/nodes/a/status": 200, "/v1/nodes/a/incidents/last/overview": 200, "/v1/overview": 404,
		"/v1/nodes/a/snapshot": 404, "/v1/nodes/a/trace": 404, "/v1/nodes": 404,
	} {
		for given, want := range map[string]int{token: code, "": max(code, 401)} {
			r := httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:8080"+path, nil)
			if given != "" {
				r.Header.Set(TokenHeader, given)
			}
			w := httptest.NewRecorder()
			routes(answered, token, true).ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s with token %q: %d, want %d", path, given, w.Code, want)
			}
		}
	}
	w := httptest.NewRecorder()
	routes(answered, token, true).ServeHTTP(w, httptest.NewRequestWithContext(context.Background(), http.MethodGet, "http://127.0.0.1:8080/", nil))
	if !strings.Contains(w.Body.String(), `<html data-shows="cluster" lang="en">`) {
		t.Errorf("the page does not say what it shows: %s", w.Body)
	}
}
