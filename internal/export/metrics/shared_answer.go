package metrics

import (
	"bytes"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// maxShared bounds the answers to choices of metrics that are made within maxAge. Who asks for all is never refused: of that there is one
// answer for each format and encoding.
const maxShared = 8

// formats are those that are answered in, with names as they have always been written: ours have no other characters.
var formats = []expfmt.Format{
	expfmt.NewFormat(expfmt.TypeProtoDelim).WithEscapingScheme(model.UnderscoreEscaping),
	expfmt.NewFormat(expfmt.TypeTextPlain).WithEscapingScheme(model.UnderscoreEscaping),
}

// formatFor is the one that is asked for: Prometheus's own, if it is taken.
func formatFor(accept http.Header) expfmt.Format {
	if expfmt.NegotiateAccept(accept, expfmt.DefaultAcceptedFormats()...).FormatType() == expfmt.TypeProtoDelim {
		return formats[0]
	}
	return formats[1]
}

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
	key := sharedKey{string(formatFor(r.Header)), "identity", r.URL.RawQuery}
	if takesGzip(r.Header.Get("Accept-Encoding")) {
		key.encoding = "gzip"
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.kept[key]; a != nil {
		return a
	}
	if key.query != "" && len(s.kept) >= maxShared {
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
