package api

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"tracer/internal/trace/tracetest"
)

// FuzzRequest sends what is no request of ours to the socket: each is answered, by what it asks for or a refusal.
func FuzzRequest(f *testing.F) {
	for _, path := range []string{
		pathStatus, pathSnapshot, pathDevices, pathDiagnosis + "?window=30s", pathFindings, pathTrace + "?pod=default/web&stage=queue%3E10ms&port=80",
		pathOverview + "?by=flow&filter=web+p99%3E10ms&sort=-p99&limit=3&pair=a|b|c|d|out&interval=1s", "/", "//v1/../v1/status", "/v1/trace?%zz",
	} {
		f.Add([]byte("GET " + path + " HTTP/1.1\r\nHost: agent\r\n\r\n"))
	}
	f.Add([]byte("POST /v1/status HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello"))
	source := newSource()
	routes := newHandler(source, tracetest.Cluster(), nil).routes()
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil {
			return // net/http refuses it
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond) // ends streams
		defer cancel()
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, r.WithContext(ctx))
		if w.Code >= http.StatusInternalServerError && w.Code != http.StatusServiceUnavailable {
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}
