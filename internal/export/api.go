package export

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// The requests that the socket answers.
const (
	pathStatus    = "/v1/status"
	pathSnapshot  = "/v1/snapshot"
	pathDevices   = "/v1/devices"
	pathDiagnosis = "/v1/diagnosis"
	pathFindings  = "/v1/findings"
	pathTrace     = "/v1/trace"
	pathOverview  = "/v1/overview"
)

// queryWindow is the key of a diagnosis's window, DefaultWindow its length if none is given.
const (
	queryWindow   = "window"
	DefaultWindow = 15 * time.Second
)

// apiError is the answer to a request that fails.
type apiError struct {
	Error string `json:"error"`
}

func apiHandler(source Source, names aggregate.Namer) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+pathStatus, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.Status()) })
	mux.HandleFunc("GET "+pathSnapshot, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.Snapshot()) })
	mux.HandleFunc("GET "+pathDevices, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.Devices()) })
	mux.HandleFunc("GET "+pathDiagnosis, func(w http.ResponseWriter, r *http.Request) {
		window, err := parseWindow(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		report, err := source.Diagnose(r.Context(), window)
		if err != nil {
			refuse(w, http.StatusInternalServerError, err)
			return
		}
		answer(w, report)
	})
	mux.HandleFunc("GET "+pathFindings, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.Held()) })
	mux.HandleFunc("GET "+pathTrace, func(w http.ResponseWriter, r *http.Request) {
		filter, err := trace.ParseQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		stream(w, r, Follow(r.Context(), source, names, filter))
	})
	mux.HandleFunc("GET "+pathOverview, func(w http.ResponseWriter, r *http.Request) {
		query, err := overview.ParseQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		stream(w, r, source.Overviews(r.Context(), query))
	})
	return mux
}

func parseWindow(query url.Values) (time.Duration, error) {
	text := query.Get(queryWindow)
	if text == "" {
		return DefaultWindow, nil
	}
	window, err := time.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("parse window: %w", err)
	}
	if window <= 0 {
		return 0, fmt.Errorf("parse window: %s is not longer than nothing; say 15s", text)
	}
	return window, nil
}

// stream sends one JSON object a line, each as soon as it is there.
func stream[T any](w http.ResponseWriter, r *http.Request, objects iter.Seq2[T, error]) {
	control := http.NewResponseController(w)
	// A reader that has stopped to read holds up its stream alone, and nothing once the server is to stop.
	defer context.AfterFunc(r.Context(), func() { _ = control.SetWriteDeadline(time.Now()) })()
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil {
		return
	}
	encoder := json.NewEncoder(w)
	for object, err := range objects {
		if err != nil {
			_ = encoder.Encode(apiError{err.Error()})
			return
		}
		if encoder.Encode(object) != nil || control.Flush() != nil {
			return // the reader has gone
		}
	}
}

func answer(w http.ResponseWriter, v any) {
	var body bytes.Buffer // whole, before the answer begins
	if err := json.NewEncoder(&body).Encode(v); err != nil {
		refuse(w, http.StatusInternalServerError, fmt.Errorf("encode the answer: %w", err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes())
}

func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(apiError{err.Error()})
}
