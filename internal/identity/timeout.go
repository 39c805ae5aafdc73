package identity

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// responseTimeout is how long the API server may take to begin an answer. Without it a server that accepts a request and
// never answers would block a watch for good. A watch itself has no end, so http.Client.Timeout does not serve.
const responseTimeout = 30 * time.Second

// timeoutTransport cancels a request to which no answer begins in time.
type timeoutTransport struct {
	next    http.RoundTripper
	timeout time.Duration
}

func (t timeoutTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(t.timeout, func() {
		cancel(fmt.Errorf("no answer from %s within %v", r.URL.Host, t.timeout))
	})
	response, err := t.next.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && r.Context().Err() == nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	response.Body = body{response.Body, cancel}
	return response, nil
}

// body releases its request's context when it is closed.
type body struct {
	io.ReadCloser
	release context.CancelCauseFunc
}

func (b body) Close() error {
	defer b.release(nil)
	return b.ReadCloser.Close()
}
