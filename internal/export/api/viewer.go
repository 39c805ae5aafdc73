//go:build linux

package api

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"

	"tracer/internal/export/httpserver"
	"tracer/internal/trace"
)

// viewerMode is of the viewers' socket: its group may ask.
const viewerMode = 0o660

// viewerPaths are what viewers may ask for, beside journeys: what people look at. What else there is, or will be, is refused until it is
// named here.
var viewerPaths = [...]string{pathStatus, pathFindings, pathDiagnosis, pathOverview, pathPath}

// NewViewerServer listens on a second unix socket, for a group (by its number) beside root: for the requests that only read, and of these for
// those that people make. It has limits of its own, so that its clients take no place of the first one's.
func NewViewerServer(o ServerOptions, group int) (*httpserver.Server, error) {
	if group <= 0 {
		return nil, fmt.Errorf("serve viewers at %s: group %d: give one of its own, above 0", o.Path, group)
	}
	listener, err := listenUnix(o.Path)
	if err != nil {
		return nil, fmt.Errorf("serve viewers at %s: %w", o.Path, err)
	}
	if err := os.Chown(o.Path, -1, group); err != nil {
		listener.Close()
		return nil, fmt.Errorf("serve viewers at %s: give the socket to group %d: %w; the agent must be of that group, or have CAP_CHOWN", o.Path, group, err)
	}
	if err := os.Chmod(o.Path, viewerMode); err != nil {
		listener.Close()
		return nil, fmt.Errorf("serve viewers at %s: %w", o.Path, err)
	}
	listening := &peerListener{Listener: listener, log: cmp.Or(o.Log, slog.Default()), refusal: refusedToViewers, group: group}
	return httpserver.New(httpserver.Options{Name: "viewers", Listener: listening, Handler: viewerHandler(newHandler(o.Source, o.Names, o.Incidents).routes()), Log: o.Log, MaxHeader: maxHeader}), nil
}

// viewerHandler hands on what viewers may ask for.
func viewerHandler(next http.Handler) http.Handler {
	mux := http.NewServeMux()
	for _, path := range viewerPaths {
		mux.Handle("GET "+path, next)
	}
	mux.HandleFunc("GET "+pathTrace, func(w http.ResponseWriter, r *http.Request) {
		if filter, err := trace.ParseQuery(r.URL.Query()); err == nil && filter.Headers { // live sequence numbers, and programs that are loaded for it
			refuse(w, http.StatusForbidden, errors.New("headers of packets are not for viewers: ask on the agent's own socket, as root"))
			return
		}
		next.ServeHTTP(w, r)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, fmt.Errorf("%s %s is not for viewers: ask on the agent's own socket, as root", r.Method, r.URL.Path))
	})
	return mux
}
