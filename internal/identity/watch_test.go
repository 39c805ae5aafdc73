package identity

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// buffer is a log that is written and read at the same time.
type buffer struct {
	mu   sync.Mutex
	text strings.Builder
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func refuse(w http.ResponseWriter, code int, reason metav1.StatusReason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Message: message, Reason: reason, Code: int32(code),
	})
}

// run has a source talk to a server, until what it logs has all of want.
func runAgainst(t *testing.T, handle http.HandlerFunc, want ...string) *Kubernetes {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	var log buffer
	k, err := NewKubernetes(KubernetesOptions{
		Config: &rest.Config{Host: server.URL}, Node: "node1", Clock: func() time.Duration { return time.Hour },
		Log: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- k.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		server.CloseClientConnections()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		missing := ""
		for _, w := range want {
			if !strings.Contains(strings.ReplaceAll(log.String(), `\"`, `"`), w) {
				missing = w
			}
		}
		if missing == "" {
			return k
		}
		if time.Now().After(end) {
			t.Fatalf("%q is not in\n%s", missing, &log)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		code    int
		reason  metav1.StatusReason
		message string
		want    []string
	}{
		{http.StatusForbidden, metav1.StatusReasonForbidden, `pods is forbidden: User "x"`, []string{
			`{apiGroups: [""], resources: [pods], verbs: [list, watch]}`,
			`{apiGroups: ["discovery.k8s.io"], resources: [endpointslices], verbs: [list, watch]}`,
		}},
		{http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized", []string{"renew the kubeconfig"}},
		{http.StatusNotFound, metav1.StatusReasonNotFound, "not found", []string{"a Kubernetes API server?"}},
		{http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd is away", []string{"etcd is away"}},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			t.Parallel()
			k := runAgainst(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, test.code, test.reason, test.message) },
				append(test.want, "names of pods are not up to date")...)
			if s := k.Status(); s.Errors["pods"] == 0 || s.Synced["pods"] {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// TestListIsTriedAgain: the server sends a list whose version is too old for its own watch, and then a newer one.
func TestListIsTriedAgain(t *testing.T) {
	t.Parallel()
	var lists, watches atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		query := r.URL.Query()
		switch {
		case query.Get("sendInitialEvents") == "true": // as a server that knows no streaming lists
			refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden")
		case query.Get("watch") == "true":
			if strings.HasSuffix(r.URL.Path, "/pods") && watches.Add(1) == 1 {
				refuse(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
				return
			}
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case strings.HasSuffix(r.URL.Path, "/pods"):
			lists.Add(1)
			w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
			_, _ = w.Write(encodeList(t, "web"))
		default:
			w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
			_, _ = w.Write(encodeList(t))
		}
	}
	k := runAgainst(t, handle)
	for end := time.Now().Add(20 * time.Second); lists.Load() < 2 || watches.Load() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d lists, %d watches", lists.Load(), watches.Load())
		}
	}
	if s := k.Status(); !s.Synced["pods"] || s.Errors["pods"] != 0 {
		t.Errorf("status is %+v", s)
	}
}

func TestSilentServer(t *testing.T) {
	t.Parallel()
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	client := http.Client{Transport: impatient{next: http.DefaultTransport, within: 50 * time.Millisecond}}
	_, err := client.Get(silent.URL)
	if err == nil || !strings.Contains(err.Error(), "no answer from 127.0.0.1") {
		t.Errorf("the error is %v", err)
	}
	// One that has begun to answer may take its time.
	client.Transport = impatient{next: http.DefaultTransport, within: time.Second}
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

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ path, want string }{
		"missing": {filepath.Join(dir, "none"), "give a readable one with --kubeconfig"},
		"garbage": {write("garbage", "{"), "read kubeconfig"},
		"empty":   {write("empty", ""), "it needs a current context"},
		"no cluster": {write("half", `{apiVersion: v1, kind: Config, contexts: [{name: a, context: {cluster: b, user: c}}], current-context: a}`),
			"it needs a current context"},
	} {
		if _, err := LoadConfig(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write("ca.crt", "a certificate")
	good := write("good", `{apiVersion: v1, kind: Config, clusters: [{name: b, cluster: {server: "https://10.0.0.1:6443", certificate-authority: ca.crt}}],
users: [{name: c, user: {token: t}}], contexts: [{name: a, context: {cluster: b, user: c}}], current-context: a}`)
	config, err := LoadConfig(good)
	if err != nil || config.Host != "https://10.0.0.1:6443" || config.CAFile != filepath.Join(dir, "ca.crt") {
		t.Errorf("%+v, %v", config, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := LoadConfig(""); !errors.Is(err, ErrNoCluster) {
		t.Errorf("no cluster: %v", err)
	}
}
