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
		routes(answered, token).ServeHTTP(w, r)
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
