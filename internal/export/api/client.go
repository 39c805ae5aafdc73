package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"net"
	"net/http"
	"net/url"
	"syscall"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
	"tracer/internal/trace"
)

// ErrNoAgent says that no agent serves a socket: there is no socket, or an agent that was killed left it behind.
var ErrNoAgent = errors.New("no agent runs here")

// Client asks a running agent. It may be used by many goroutines at once.
type Client struct {
	at     string // where the agent is, for people: the socket's path
	advice string // what to do if it is of another version
	http   *http.Client
}

// Dial returns a client for the agent's socket. Whether there is an agent shows with the first request, whose error
// is ErrNoAgent if not.
func Dial(path string) *Client {
	return NewClient(path, "use the tracer in its own pod (kubectl exec)", func(ctx context.Context) (net.Conn, error) { return new(net.Dialer).DialContext(ctx, "unix", path) })
}

// NewClient returns a client for an agent that is reached by other ways than its socket here. Errors name it by at, and
// where the agent is of another version they give advice what to do.
func NewClient(at, advice string, dial func(context.Context) (net.Conn, error)) *Client {
	transport := &http.Transport{
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx) },
		DisableCompression: true,
	}
	return &Client{at: at, advice: advice, http: &http.Client{Transport: transport}}
}

// Close closes idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Status is what the agent says about itself.
func (c *Client) Status(ctx context.Context) (Status, error) {
	return ask[Status](ctx, c, pathStatus, nil)
}

// Outcomes are how many journeys came to which end since the agent began.
func (c *Client) Outcomes(ctx context.Context) (map[string]uint64, error) {
	status, err := c.Status(ctx)
	return status.Journeys, err
}

// Diagnose judges the last window of time.
func (c *Client) Diagnose(ctx context.Context, window time.Duration) (diagnose.Report, error) {
	return ask[diagnose.Report](ctx, c, pathDiagnosis, url.Values{queryWindow: {window.String()}})
}

// ActiveFindings are those of the agent's latest diagnosis.
func (c *Client) ActiveFindings(ctx context.Context) (ActiveFindings, error) {
	return ask[ActiveFindings](ctx, c, pathFindings, nil)
}

// Path watches the packets between two ends for the query's window, on the agent's node.
func (c *Client) Path(ctx context.Context, query pairpath.Query) (pairpath.Half, error) {
	return ask[pairpath.Half](ctx, c, pathPath, query.Values())
}

// Traces yields the journeys that match the filter, as they end, until ctx does. An error is the last that it yields.
func (c *Client) Traces(ctx context.Context, filter trace.Filter) iter.Seq2[trace.Trace, error] {
	return objects[trace.Trace](ctx, c, pathTrace, filter.Values())
}

// Overviews yields one overview at once and then one for each of the query's intervals, until ctx ends. An error is the
// last that it yields.
func (c *Client) Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error] {
	return objects[*overview.Overview](ctx, c, pathOverview, query.Values())
}

// objects makes a request that is answered by one object a line until ctx ends.
func objects[T any](ctx context.Context, c *Client, path string, query url.Values) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var none T
		body, err := c.get(ctx, path, query)
		if err != nil {
			if ctx.Err() == nil {
				yield(none, err)
			}
			return
		}
		defer body.Close()
		lines := bufio.NewReaderSize(body, 64<<10)
		for {
			object := none
			line, err := lines.ReadBytes('\n')
			switch {
			case err == nil && bytes.HasPrefix(line, []byte(`{"error":`)):
				err = refusalOf(c.at, line)
			case err == nil:
				if err = json.Unmarshal(line, &object); err != nil {
					err = fmt.Errorf("read the answer of the agent at %s: %w", c.at, err)
				}
			case ctx.Err() != nil:
				return
			case errors.Is(err, io.EOF):
				err = fmt.Errorf("the agent at %s has stopped: %w", c.at, err)
			case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
				err = fmt.Errorf("the agent at %s has stopped, or needed the place of a stream that nobody read: %w", c.at, err)
			default:
				err = fmt.Errorf("read from the agent at %s: %w", c.at, err)
			}
			if !yield(object, err) || err != nil {
				return
			}
		}
	}
}

// refusalOf reads an apiError.
func refusalOf(path string, line []byte) error {
	var refusal apiError
	if err := json.Unmarshal(line, &refusal); err != nil {
		return fmt.Errorf("read the answer of the agent at %s: %w", path, err)
	}
	return fmt.Errorf("the agent at %s: %s", path, refusal.Error)
}

// ask makes a request that has one answer.
func ask[T any](ctx context.Context, c *Client, path string, query url.Values) (v T, err error) {
	body, err := c.get(ctx, path, query)
	if err != nil {
		return v, err
	}
	defer body.Close()
	if err := json.NewDecoder(body).Decode(&v); err != nil {
		return v, fmt.Errorf("read the answer of the agent at %s: %w", c.at, err)
	}
	return v, nil
}

func (c *Client) get(ctx context.Context, path string, query url.Values) (io.ReadCloser, error) {
	u := url.URL{Scheme: "http", Host: "agent", Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask the agent: %w", err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, DialError(c.at, cause(err))
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, fmt.Errorf("ask the agent at %s: %s for %s; it is of another version; %s",
			c.at, response.Status, path, c.advice)
	}
	var refusal apiError
	if err := json.NewDecoder(response.Body).Decode(&refusal); err != nil || refusal.Error == "" {
		return nil, fmt.Errorf("ask the agent at %s: %s", c.at, response.Status)
	}
	return nil, fmt.Errorf("the agent at %s: %s", c.at, refusal.Error)
}

// DialError says why an agent was not reached, and what to do. It is ErrNoAgent if there is none.
func DialError(at string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w (%s): %w; start one with tracer agent", ErrNoAgent, at, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("ask the agent at %s: %w; run this as root", at, err)
	}
	return fmt.Errorf("ask the agent at %s: %w", at, err)
}

// cause removes the URL from an error: that of a unix socket says nothing.
func cause(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}
