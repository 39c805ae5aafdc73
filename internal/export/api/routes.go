//go:build linux

package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/incident"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/trace"
)

// defaultWindow is the length of a diagnosis's window if none is given.
const defaultWindow = 15 * time.Second

// handler answers the requests.
type handler struct {
	source Source
	// incidents lists those that are kept, reader reads them; their Store is nil if none are.
	incidents incident.Lister
	reader    incident.Reader
	feeds     traceFeeds
	// What clients may take of the agent at once.
	traces, headers, overviews streams
}

func newHandler(source Source, names aggregate.Namer, incidents *incident.Store) *handler {
	return &handler{
		source: source, incidents: incident.Lister{Store: incidents}, reader: incident.Reader{Store: incidents}, feeds: traceFeeds{source: source, names: names},
		traces:    streams{kind: "traces", max: maxTraceStreams, now: time.Now},
		headers:   streams{kind: "traces with headers", max: maxHeaderStreams, now: time.Now},
		overviews: streams{kind: "overviews", max: maxOverviewStreams, now: time.Now},
	}
}

// Handler answers the requests of Client without a socket, for a program that traces by itself. incidents is nil if none are kept.
func Handler(source Source, names aggregate.Namer, incidents *incident.Store) http.Handler {
	return newHandler(source, names, incidents).routes()
}

func (h *handler) routes() http.Handler {
	mux := http.NewServeMux()
	for path, respond := range map[string]http.HandlerFunc{
		pathStatus:    func(w http.ResponseWriter, _ *http.Request) { answer(w, h.source.Status()) },
		pathSnapshot:  func(w http.ResponseWriter, _ *http.Request) { answer(w, h.source.Snapshot()) },
		pathDevices:   func(w http.ResponseWriter, _ *http.Request) { answer(w, h.source.Devices()) },
		pathDiagnosis: h.diagnose,
		pathPath:      h.path,
		pathFindings:  func(w http.ResponseWriter, _ *http.Request) { answer(w, h.source.ActiveFindings()) },
	} {
		mux.HandleFunc("GET "+path, newTurns(path).handler(respond))
	}
	h.routeIncidents(mux)
	mux.HandleFunc("GET "+pathTrace, func(w http.ResponseWriter, r *http.Request) {
		filter, err := trace.ParseQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		streams := &h.traces
		if filter.Headers {
			streams = &h.headers
		}
		streams.serve(w, r, func(ctx context.Context, send func([]byte) error) { relay(h.feeds.read(ctx, filter), send) })
	})
	mux.HandleFunc("GET "+pathOverview, func(w http.ResponseWriter, r *http.Request) {
		query, err := overview.ParseQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		h.overviews.serve(w, r, func(ctx context.Context, send func([]byte) error) { encoded(h.source.Overviews(ctx, query), send) })
	})
	return mux
}

func (h *handler) diagnose(w http.ResponseWriter, r *http.Request) {
	window, err := parseWindow(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	report, err := h.source.Diagnose(r.Context(), window)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, report)
}

func (h *handler) path(w http.ResponseWriter, r *http.Request) {
	query, err := pairpath.ParseQuery(r.URL.Query())
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	half, err := h.source.Path(r.Context(), query)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, half)
}

// parseWindow reads the window of a diagnosis.
func parseWindow(query url.Values) (time.Duration, error) {
	text := query.Get(queryWindow)
	if text == "" {
		return defaultWindow, nil
	}
	window, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("parse window: %w", err)
	}
	if window <= 0 {
		return 0, fmt.Errorf("parse window: %s is not positive; give a duration such as 15s", text)
	}
	return window, nil
}

// answer sends one JSON object.
func answer(w http.ResponseWriter, v any) {
	var body bytes.Buffer // whole, before the answer begins
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err))
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes())
}

// refuse sends an error.
func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(apiError{err.Error()})
}

// retryAfter is in how many seconds a client that was refused may ask again.
const retryAfter = 10

// refuseBusy sends an error that is not the request's: others take all that is given at once.
func refuseBusy(w http.ResponseWriter, err error) {
	w.Header().Set("Retry-After", strconv.Itoa(retryAfter))
	refuse(w, http.StatusServiceUnavailable, err)
}
