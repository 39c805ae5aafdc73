package metrics

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSharedAnswers asks many times in few ways, and in many.
func TestSharedAnswers(t *testing.T) {
	t.Parallel()
	var made atomic.Int64
	inner := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		made.Add(1)
		fmt.Fprintf(w, "%s %s %s", r.Header.Get("Accept"), r.Header.Get("Accept-Encoding"), r.URL.RawQuery)
	})
	s := &sharedAnswers{handler: inner, maxAge: time.Hour}
	ask := func(query, accept, encoding string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/metrics?"+query, nil)
		r.Header.Set("Accept", accept)
		r.Header.Set("Accept-Encoding", encoding)
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	var all sync.WaitGroup
	for i := range 1000 {
		all.Go(func() { ask("", fmt.Sprintf("text/plain;q=0.%d", i), fmt.Sprintf("gzip;q=0.%d", i+1)) })
	}
	all.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("1000 who ask the same: %d answers were made", n)
	}
	refused := 0
	for i := range 100 {
		if w := ask(fmt.Sprintf("name[]=%d", i), "", ""); w.Code == http.StatusServiceUnavailable {
			refused++
			if w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "try again") {
				t.Errorf("refused with %v %s", w.Header(), w.Body)
			}
		}
	}
	if n := made.Load(); n != maxShared || refused != 100-(maxShared-1) {
		t.Errorf("100 ways to ask: %d answers made, %d refused", n, refused)
	}
	if w := ask("", "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "gzip"); w.Code != http.StatusOK ||
		!strings.Contains(w.Body.String(), "protobuf") {
		t.Errorf("who asks for all is refused meanwhile: %d %s", w.Code, w.Body)
	}
}

func TestSharedAnswersForget(t *testing.T) {
	t.Parallel()
	n := 0
	s := &sharedAnswers{maxAge: time.Hour, handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		n++
		fmt.Fprint(w, n)
	})}
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for _, want := range []string{"1", "1", "2"} {
		if want == "2" {
			for key := range s.kept {
				s.forget(key)
			}
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Body.String() != want {
			t.Errorf("%s, want %s", w.Body, want)
		}
	}
}

// The answer is what the client takes: text or protobuf, compressed or not.
func TestSharedFormats(t *testing.T) {
	t.Parallel()
	h, err := newHandler(newTestCollector(newSource()), "v1", quiet())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ accept, encoding, contentType, contentEncoding string }{
		{"", "", "text/plain", ""},
		{"*/*", "gzip;q=0", "text/plain", ""},
		{"*/*", "deflate, gzip;q=1.0", "text/plain", "gzip"},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,*/*;q=0.1", "gzip", "application/vnd.google.protobuf", "gzip"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", test.accept)
		r.Header.Set("Accept-Encoding", test.encoding)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header(); !strings.HasPrefix(got.Get("Content-Type"), test.contentType) || got.Get("Content-Encoding") != test.contentEncoding {
			t.Errorf("%+v: %v", test, got)
		}
		body := w.Body.Bytes()
		if test.contentEncoding == "gzip" {
			z, err := gzip.NewReader(w.Body)
			if err != nil {
				t.Fatal(err)
			}
			if body, err = io.ReadAll(z); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Contains(body, []byte("tracer_build_info")) {
			t.Errorf("%+v: %d bytes without metrics", test, len(body))
		}
	}
}
