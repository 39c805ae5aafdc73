package scrape

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// TestRead reads series with and without labels, and refuses what is none, and a status other than OK.
func TestRead(t *testing.T) {
	t.Parallel()
	said, status := "# HELP up whether\nup 1\nbytes_total{src=\"a b\",dst=\"c\"} 1.5e+06\n", http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		fmt.Fprint(w, said)
	}))
	t.Cleanup(server.Close)
	client := New(func(do func() error) error { return do() })
	address := strings.TrimPrefix(server.URL, "http://")
	want := []Sample{{"up", "", 1}, {"bytes_total", `src="a b",dst="c"`, 1.5e6}}
	if got, err := client.Read(t.Context(), address); err != nil || !slices.Equal(got, want) {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	said = "up many\n"
	if got, err := client.Read(t.Context(), address); err == nil {
		t.Errorf("of %q it reads %+v", said, got)
	}
	said, status = "", http.StatusServiceUnavailable
	if got, err := client.Read(t.Context(), address); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("of status 503 it reads %+v, %v", got, err)
	}
}
