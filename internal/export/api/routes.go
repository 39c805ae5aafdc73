package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// Version is the socket's: answers of one version only gain fields.
const Version = "v1"

// The requests that the socket answers.
const (
	pathStatus    = "/" + Version + "/status"
	pathSnapshot  = "/" + Version + "/snapshot"
	pathDevices   = "/" + Version + "/devices"
	pathDiagnosis = "/" + Version + "/diagnosis"
	pathFindings  = "/" + Version + "/findings"
	pathTrace     = "/" + Version + "/trace"
	pathOverview  = "/" + Version + "/overview"
)

// queryWindow is the key of a diagnosis's window, defaultWindow its length if none is given.
const (
	queryWindow   = "window"
	defaultWindow = 15 * time.Second
)

// apiError is the answer to a request that fails.
type apiError struct {
	Error string `json:"error"`
}

func newHandler(source Source, names aggregate.Namer) http.Handler {
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
	mux.HandleFunc("GET "+pathFindings, func(w http.ResponseWriter, _ *http.Request) { answer(w, source.ActiveFindings()) })
	mux.HandleFunc("GET "+pathTrace, func(w http.ResponseWriter, r *http.Request) {
		filter, err := trace.ParseQuery(r.URL.Query())
		if err != nil {
			refuse(w, http.StatusBadRequest, err)
			return
		}
		stream(w, r, Traces(r.Context(), source, names, filter))
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
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body.Bytes())
}

// refuse sends an error.
func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(apiError{err.Error()})
}
