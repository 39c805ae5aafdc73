package metrics

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
)

// maxShared bounds the answers that are made within maxAge: one for each format, encoding and choice of metrics.
const maxShared = 8

// sharedAnswers makes an answer once for all who ask within maxAge of it, however many and however slowly they read it: encoding
// and compressing all series costs more than counting them.
type sharedAnswers struct {
	handler http.Handler
	maxAge  time.Duration

	mu   sync.Mutex // held while an answer is made: those who ask meanwhile share it
	kept map[sharedKey]*sharedAnswer
}

// sharedKey is what an answer depends on.
type sharedKey struct{ format, encoding, query string }

// sharedAnswer is an http.ResponseWriter that keeps what is written, and does not change once it was made.
type sharedAnswer struct {
	header http.Header
	code   int
	body   bytes.Buffer
}

func (s *sharedAnswers) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a := s.answer(r)
	if a == nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "metrics have been asked for in too many ways within this second; try again later", http.StatusServiceUnavailable)
		return
	}
	maps.Copy(w.Header(), a.header)
	w.WriteHeader(a.code)
	_, _ = w.Write(a.body.Bytes())
}

// answer returns nil if there are too many already.
func (s *sharedAnswers) answer(r *http.Request) *sharedAnswer {
	key := sharedKey{string(expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)), "identity", r.URL.RawQuery}
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		key.encoding = "gzip"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.kept[key]; a != nil {
		return a
	}
	if len(s.kept) >= 2*maxShared || key.query != "" && len(s.kept) >= maxShared { // who asks for all goes first
		return nil
	}
	// Asked for in few ways, however many there are to say the same.
	same := r.Clone(r.Context())
	same.Header.Set("Accept", key.format)
	same.Header.Set("Accept-Encoding", key.encoding)
	a := &sharedAnswer{header: http.Header{}, code: http.StatusOK}
	s.handler.ServeHTTP(a, same)
	if s.kept == nil {
		s.kept = map[sharedKey]*sharedAnswer{}
	}
	s.kept[key] = a
	time.AfterFunc(s.maxAge, func() { s.forget(key) })
	return a
}

func (s *sharedAnswers) forget(key sharedKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.kept, key)
}

// takesGzip reads an Accept-Encoding.
func takesGzip(header string) bool {
	for item := range strings.SplitSeq(header, ",") {
		name, quality, _ := strings.Cut(item, ";")
		quality = strings.ReplaceAll(quality, " ", "")
		if strings.TrimSpace(name) == "gzip" && (!strings.HasPrefix(quality, "q=0") || strings.Trim(quality, "q=0.") != "") {
			return true
		}
	}
	return false
}

func (a *sharedAnswer) Header() http.Header { return a.header }

func (a *sharedAnswer) WriteHeader(code int) { a.code = code }

func (a *sharedAnswer) Write(p []byte) (int, error) { return a.body.Write(p) }
