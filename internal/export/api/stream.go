package api

import (
	"context"
	"encoding/json"
	"iter"
	"net/http"
	"time"
)

// stream sends one JSON object a line, each as soon as it is there.
func stream[T any](w http.ResponseWriter, r *http.Request, objects iter.Seq2[T, error]) {
	control := http.NewResponseController(w)
	// A client that no longer reads holds up its own stream alone, and not the end of the server.
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
			return // the client is gone
		}
	}
}
