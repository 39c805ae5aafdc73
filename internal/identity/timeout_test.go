package identity

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

func TestSilentServer(t *testing.T) {
	t.Parallel()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	config := &rest.Config{Host: silent.URL}
	transport, err := httpClient(config, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	pods, err := podResource().client(config, transport)
	if err != nil {
		t.Fatal(err)
	}
	_, err = pods.Get().Resource("pods").Stream(t.Context())
	if err == nil || !strings.Contains(err.Error(), "no answer from 127.0.0.1") {
		t.Errorf("the error is %v", err)
	}
	// One that has begun to answer may take its time.
	client := http.Client{Transport: timeoutTransport{next: http.DefaultTransport, timeout: time.Second}}
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.(http.Flusher).Flush()
		time.Sleep(1200 * time.Millisecond)
		_, _ = io.WriteString(w, "late")
	}))
	defer slow.Close()
	response, err := client.Get(slow.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || string(text) != "late" {
		t.Errorf("read %q, %v", text, err)
	}
}
