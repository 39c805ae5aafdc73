// Package prometheus asks a Prometheus server, by its HTTP API, for what the past of a cluster was.
package prometheus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"strconv"
	"time"
)

// Getter gets an answer of the server to a path of its API, such as "api/v1/query".
type Getter func(ctx context.Context, path string, query url.Values) (io.ReadCloser, error)

// Series are the values of one set of labels.
type Series struct {
	Labels map[string]string
	Points []Point // in the order of time; one for Query
}

// Point is a value at a time. It is NaN where there was nothing to tell.
type Point struct {
	Time  time.Time
	Value float64
}

// Client asks one server.
type Client struct{ Get Getter }

// maxAnswer bounds an answer, in bytes.
const maxAnswer = 64 << 20

// Query is what an expression yields now.
func (c Client) Query(ctx context.Context, expression string) ([]Series, error) {
	return c.ask(ctx, "api/v1/query", url.Values{"query": {expression}})
}

// Range is what it yielded from one time to another.
func (c Client) Range(ctx context.Context, expression string, from, to time.Time, step time.Duration) ([]Series, error) {
	at := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	return c.ask(ctx, "api/v1/query_range", url.Values{
		"query": {expression}, "start": {at(from)}, "end": {at(to)}, "step": {strconv.FormatFloat(step.Seconds(), 'f', -1, 64)},
	})
}

// answer is as the API has it.
type answer struct {
	Status string `json:"status"`
	Error  string `json:"error"`
	Data   struct {
		ResultType string `json:"resultType"`
		Result     []struct {
			Metric map[string]string `json:"metric"`
			Value  *sample           `json:"value"`
			Values []sample          `json:"values"`
		} `json:"result"`
	} `json:"data"`
}

// sample is a time in seconds and a number as text.
type sample Point

// UnmarshalJSON reads [1435781430.781, "1"].
func (s *sample) UnmarshalJSON(data []byte) error {
	var parts [2]json.RawMessage
	var at float64
	var text string
	if err := errors.Join(json.Unmarshal(data, &parts), json.Unmarshal(parts[0], &at), json.Unmarshal(parts[1], &text)); err != nil {
		return err
	}
	value, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	s.Time, s.Value = time.UnixMilli(int64(math.Round(at*1000))), value
	return nil
}

func (c Client) ask(ctx context.Context, path string, query url.Values) ([]Series, error) {
	body, err := c.Get(ctx, path, query)
	if err != nil {
		return nil, fmt.Errorf("ask Prometheus: %w", err)
	}
	defer body.Close()
	var a answer
	if err := json.NewDecoder(io.LimitReader(body, maxAnswer)).Decode(&a); err != nil {
		return nil, fmt.Errorf("read the answer of Prometheus: %w; is that its address?", err)
	}
	switch {
	case a.Status != "success":
		return nil, fmt.Errorf("ask Prometheus: %s", a.Error)
	case a.Data.ResultType != "vector" && a.Data.ResultType != "matrix":
		return nil, fmt.Errorf("read the answer of Prometheus: a %q", a.Data.ResultType)
	}
	all := make([]Series, 0, len(a.Data.Result))
	for _, r := range a.Data.Result {
		s := Series{Labels: r.Metric}
		if r.Value != nil {
			r.Values = append(r.Values, *r.Value)
		}
		for _, v := range r.Values {
			s.Points = append(s.Points, Point(v))
		}
		all = append(all, s)
	}
	return all, nil
}
