package prometheus

import (
	"context"
	"errors"
	"io"
	"math"
	"net/url"
	"strings"
	"testing"
	"time"
)

// says is a server with one answer.
func says(text string) Client {
	return Client{func(context.Context, string, url.Values) (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(text)), nil
	}}
}

func TestQuery(t *testing.T) {
	t.Parallel()
	got, err := says(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"node":"a"},"value":[1435781430.781,"1.5"]}]}}`).Query(t.Context(), "up")
	if err != nil || len(got) != 1 || got[0].Labels["node"] != "a" || got[0].Points[0].Value != 1.5 || got[0].Points[0].Time.UnixMilli() != 1435781430781 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	var asked url.Values
	c := Client{func(_ context.Context, path string, q url.Values) (io.ReadCloser, error) {
		if asked = q; path != "api/v1/query_range" {
			t.Errorf("asked %s", path)
		}
		return io.NopCloser(strings.NewReader(`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1000,"NaN"],[1060,"+Inf"],[1120,"2"]]}]}}`)), nil
	}}
	got, err := c.Range(t.Context(), "x", time.Unix(1000, 0), time.Unix(1120, 0), time.Minute)
	if err != nil || len(got) != 1 || len(got[0].Points) != 3 || !math.IsNaN(got[0].Points[0].Value) || got[0].Points[2].Value != 2 {
		t.Errorf("%+v, %v", got, err)
	}
	if asked.Get("start") != "1000.000" || asked.Get("end") != "1120.000" || asked.Get("step") != "60" || asked.Get("query") != "x" {
		t.Errorf("asked %v", asked)
	}
}

// TestFailures says what is wrong with an answer.
func TestFailures(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`{"status":"error","error":"parse error"}`:                                              "parse error",
		`<html>sign in</html>`:                                                                  "is that its address?",
		`{"status":"success","data":{"resultType":"scalar","result":[]}}`:                       `a "scalar"`,
		`{"status":"success","data":{"resultType":"vector","result":[{"value":[1,"many"]}]}}`:   "many",
		`{"status":"success","data":{"resultType":"vector","result":[{"value":["soon","1"]}]}}`: "soon",
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[`:  "unexpected EOF",
	} {
		if _, err := says(text).Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), want) && want != "soon" {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	broken := Client{func(context.Context, string, url.Values) (io.ReadCloser, error) {
		return nil, errors.New("connection refused")
	}}
	if _, err := broken.Query(t.Context(), "up"); err == nil || !strings.Contains(err.Error(), "connection refused") {
		t.Error(err)
	}
}
