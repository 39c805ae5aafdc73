package identity

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
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

// answer is what a server says that has one pod, and knows no streaming lists.
func answer(t *testing.T, w http.ResponseWriter, r *http.Request) {
	t.Helper()
	switch query := r.URL.Query(); {
	case query.Get("sendInitialEvents") == "true":
		refuse(w, http.StatusUnprocessableEntity, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden")
	case query.Get("watch") == "true":
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	default:
		var pods []string
		if strings.HasSuffix(r.URL.Path, "/pods") {
			pods = []string{"web"}
		}
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
		_, _ = w.Write(encodeList(t, pods...))
	}
}

// encodeError is a watch's event that ends it, behind its length.
func encodeError(t *testing.T, code int32, reason metav1.StatusReason) []byte {
	t.Helper()
	wrap := func(version, kind string, object interface{ Marshal() ([]byte, error) }) []byte {
		raw, err := object.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: raw}
		data, err := unknown.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return append(listMagic[:], data...)
	}
	status := wrap("v1", "Status", &metav1.Status{Status: metav1.StatusFailure, Reason: reason, Code: code})
	event, err := (&metav1.WatchEvent{Type: "ERROR", Object: runtime.RawExtension{Raw: status}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...)
}

// awaitStatus waits until the names stand as wanted.
func awaitStatus(t *testing.T, k *Kubernetes, what string, done func(KubernetesStatus) bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(k.Status()); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not until now: %s; the status is %+v", what, k.Status())
		}
	}
}

// runAgainst has a source talk to a server, until what it logs has all of want.
func runAgainst(t *testing.T, handle http.HandlerFunc, want ...string) *Kubernetes {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections) // before it closes, so that no request is waited for
	return runWith(t, server.URL, want...)
}

func runWith(t *testing.T, url string, want ...string) *Kubernetes {
	t.Helper()
	var log buffer
	k, err := NewKubernetes(KubernetesOptions{
		Config: &rest.Config{Host: url}, Node: "node1", Clock: func() time.Duration { return time.Hour },
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
		{http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "slow down", []string{"the API server is busy"}},
		{http.StatusInternalServerError, metav1.StatusReasonInternalError, "etcd is away", []string{"etcd is away"}},
	} {
		t.Run(string(test.reason), func(t *testing.T) {
			t.Parallel()
			k := runAgainst(t, func(w http.ResponseWriter, _ *http.Request) { refuse(w, test.code, test.reason, test.message) },
				append(test.want, "names from Kubernetes are not up to date; trying again", "resource=pods")...)
			if s := k.Status(); s.Errors["pods"] == 0 || s.Synced["pods"] {
				t.Errorf("status is %+v", s)
			}
		})
	}
}

// TestForbiddenWatch: whoever may list and not watch has names, that are not up to date for long.
func TestForbiddenWatch(t *testing.T) {
	t.Parallel()
	k := runAgainst(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("watch") == "true" {
			refuse(w, http.StatusForbidden, metav1.StatusReasonForbidden, `User "x" cannot watch resource`)
			return
		}
		answer(t, w, r)
	}, "cannot watch resource", `{apiGroups: [""], resources: [pods], verbs: [list, watch]}`)
	awaitStatus(t, k, "the pods are listed", func(s KubernetesStatus) bool { return s.Synced["pods"] && s.Errors["pods"] > 0 })
}

// TestBusy: the server asks to come back later, and then answers.
func TestBusy(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		if n := requests.Add(1); n <= 6 {
			if n%2 == 0 {
				w.Header().Set("Retry-After", "1")
			}
			refuse(w, http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests, "slow down")
			return
		}
		answer(t, w, r)
	}
	k := runAgainst(t, handle, "the API server is busy", "the API server answers again")
	awaitStatus(t, k, "all is listed", func(s KubernetesStatus) bool {
		return s.Synced["pods"] && s.Synced["services"] && s.Synced["endpointslices"]
	})
	if n := requests.Load(); n > 40 {
		t.Errorf("%d requests to a busy server", n)
	}
}

// TestExpiredWatch: a watch ends because its version is too old, as servers say it in the midst of a stream.
func TestExpiredWatch(t *testing.T) {
	t.Parallel()
	var lists atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		pods := strings.HasSuffix(r.URL.Path, "/pods")
		switch query := r.URL.Query(); {
		case pods && query.Get("watch") != "true":
			lists.Add(1)
		case pods && query.Get("sendInitialEvents") == "" && lists.Load() == 1:
			w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf;stream=watch")
			_, _ = w.Write(encodeError(t, http.StatusGone, metav1.StatusReasonExpired))
			return
		}
		answer(t, w, r)
	}
	k := runAgainst(t, handle)
	for end := time.Now().Add(20 * time.Second); lists.Load() < 2; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d lists", lists.Load())
		}
	}
	awaitStatus(t, k, "no error is counted", func(s KubernetesStatus) bool { return s.Synced["pods"] && s.Errors["pods"] == 0 })
}

// TestUnreachable: nobody listens at the address that the kubeconfig has, or somebody else does.
func TestUnreachable(t *testing.T) {
	t.Parallel()
	const closed = "http://127.0.0.1:1" // a port that nobody is given by chance
	stranger := httptest.NewTLSServer(http.NotFoundHandler())
	stranger.Config.ErrorLog = log.New(io.Discard, "", 0)
	defer stranger.Close()
	for url, want := range map[string]string{closed: "connection refused", stranger.URL: "certificate signed by unknown authority"} {
		k := runWith(t, url, want, "names stay as they were last known")
		if s := k.Status(); s.Synced["pods"] || s.Errors["pods"]+s.Errors["services"]+s.Errors["endpointslices"] == 0 {
			t.Errorf("%s: status is %+v", want, s)
		}
	}
}

// TestListIsTriedAgain: the server sends a list whose version is too old for its own watch, and then a newer one.
func TestListIsTriedAgain(t *testing.T) {
	t.Parallel()
	var lists, watches atomic.Int64
	handle := func(w http.ResponseWriter, r *http.Request) {
		if query := r.URL.Query(); strings.HasSuffix(r.URL.Path, "/pods") && query.Get("sendInitialEvents") == "" {
			if query.Get("watch") != "true" {
				lists.Add(1)
			} else if watches.Add(1) == 1 {
				refuse(w, http.StatusGone, metav1.StatusReasonExpired, "too old resource version")
				return
			}
		}
		answer(t, w, r)
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
