//go:build linux

package api

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"tracer/internal/incident"
	"tracer/internal/overview"
)

const (
	// defaultListed is how many incidents a list has if that is not said, maxListed how many at most: each one's file is read.
	defaultListed = 100
	maxListed     = 1000
)

var errNoIncidents = errors.New("this agent keeps no incidents: give it --incidents-dir or --state-dir")

// routeIncidents answers what was wrong before. One answer is made at a time: a file of 4 MiB takes several times as much memory once
// it is read, and a Lister serves one.
func (h *handler) routeIncidents(mux *http.ServeMux) {
	turn := &turns{kind: pathIncidents, taken: make(chan struct{}, 1), wait: turnWithin}
	for path, respond := range map[string]http.HandlerFunc{
		pathIncidents:                    h.listIncidents,
		pathIncidents + "/{id}":          h.tellIncident,
		pathIncidents + "/{id}/overview": h.replayIncident,
	} {
		mux.HandleFunc("GET "+path, turn.handler(respond))
	}
}

func (h *handler) listIncidents(w http.ResponseWriter, r *http.Request) {
	most, err := intOf(r.URL.Query(), queryMost, defaultListed, 1, maxListed)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	if h.incidents.Store == nil {
		answer(w, incident.List{SchemaVersion: incident.SchemaVersion, Incidents: []incident.Summary{}})
		return
	}
	list, err := h.incidents.List(r.Context(), most)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	answer(w, list)
}

func (h *handler) tellIncident(w http.ResponseWriter, r *http.Request) {
	i, ok := h.readIncident(w, r)
	if !ok {
		return
	}
	story, err := i.Story()
	if err != nil {
		refuse(w, http.StatusUnprocessableEntity, err)
		return
	}
	answer(w, story)
}

// replayIncident answers with the overview of one frame.
func (h *handler) replayIncident(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	frame, err := intOf(values, queryFrame, 0, 0, 1<<20)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	values.Del(queryFrame)
	query, err := overview.ParseQuery(values)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	i, ok := h.readIncident(w, r)
	if !ok {
		return
	}
	o, err := i.Overview(frame, query)
	if err != nil {
		refuse(w, http.StatusBadRequest, err)
		return
	}
	answer(w, o)
}

// readIncident reads the one that is asked for, or refuses.
func (h *handler) readIncident(w http.ResponseWriter, r *http.Request) (*incident.Incident, bool) {
	if h.incidents.Store == nil {
		refuse(w, http.StatusNotFound, errNoIncidents)
		return nil, false
	}
	i, err := h.reader.Read(r.PathValue("id"))
	switch {
	case errors.Is(err, incident.ErrNoIncident):
		refuse(w, http.StatusNotFound, err)
	case errors.Is(err, incident.ErrAmbiguous):
		refuse(w, http.StatusBadRequest, err)
	case err != nil: // there is one, of which nothing can be told
		refuse(w, http.StatusUnprocessableEntity, err)
	}
	return i, err == nil
}

// intOf is a number of a query, or the default.
func intOf(values url.Values, key string, without, least, most int) (int, error) {
	text := values.Get(key)
	if text == "" {
		return without, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("parse %s: %w", key, err)
	}
	if n < least || n > most {
		return 0, fmt.Errorf("parse %s: %d is not from %d to %d", key, n, least, most)
	}
	return n, nil
}
