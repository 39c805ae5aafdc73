package exporttest

import (
	"context"
	"io"
	"net/http"
	"testing"
	"time"
)

// endWithin is how long a server may take to end, with time for answers under way.
const endWithin = 6 * time.Second

// Start runs a server until the test ends, and fails it if err is not nil or the server does not end well.
func Start(t testing.TB, server interface{ Serve(context.Context) error }, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("Serve: %v", err)
			}
		case <-time.After(endWithin):
			t.Error("the server does not end")
		}
	})
}

// Get makes a request and returns the answer.
func Get(t testing.TB, client *http.Client, url string, change ...func(*http.Request)) (code int, body string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(request)
	}
	request.Close = true // leaves no goroutine behind
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// WaitFor waits until a condition holds.
func WaitFor(t testing.TB, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited too long for %s", what)
		}
	}
}
