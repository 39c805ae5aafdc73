package agents

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// TestMain silences client-go, which logs of each stream how it ended.
func TestMain(m *testing.M) {
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	m.Run()
}

// fakeServer is an API server that knows agents' pods and execs into them.
type fakeServer struct {
	t          *testing.T
	nodes      []string                      // each has an agent's pod: agent-NODE
	websockets bool                          // servers before 1.30 have none
	connect    func(node string, c net.Conn) // what runs in a node's pod, with c for its standard input and output
	mu         sync.Mutex
	objects    map[string]any // by path of the request: lists of pods and nodes, Services
	forbidden  string         // a path that nobody may ask for
	execs      map[string]int // how often each way was taken: "websocket", "spdy"
}

func newFakeServer(t *testing.T, nodes ...string) *fakeServer {
	return &fakeServer{t: t, nodes: nodes, websockets: true, execs: map[string]int{}}
}

// cluster starts the server, and returns the cluster as a client sees it.
func (s *fakeServer) cluster() *Cluster {
	server := httptest.NewServer(s)
	s.t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL, QPS: 1000, Burst: 1000}, "tracer")
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func (s *fakeServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	pod, isExec := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/tracer/pods/"), "/exec")
	object, known := s.objects[r.URL.Path]
	switch {
	case known:
		s.answer(w, object)
	case s.forbidden != "" && r.URL.Path == s.forbidden:
		s.forbid(w, "services")
	case isExec:
		if q := r.URL.Query(); q.Get("container") != container || strings.Join(q["command"], " ") != "/tracer connect" {
			http.Error(w, "another command: "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		s.exec(w, r, strings.TrimPrefix(pod, "agent-"))
	case r.URL.Path == "/api/v1/nodes":
		s.answer(w, &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}})
	case r.URL.Path == "/api/v1/namespaces/tracer/pods":
		list := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
		for _, n := range s.nodes {
			list.Items = append(list.Items, corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Name: "agent-" + n, Namespace: "tracer"},
				Spec:       corev1.PodSpec{NodeName: n},
				Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
					{Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
				}},
			})
		}
		s.answer(w, list)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found"}`)
	}
}

func (s *fakeServer) answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Errorf("answer: %v", err)
	}
}

func (s *fakeServer) took(way string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.execs[way]++
}

// exec answers as an API server does, by WebSocket if it has that, else by SPDY.
func (s *fakeServer) exec(w http.ResponseWriter, r *http.Request, node string) {
	var stdin io.Reader
	var stdout, status io.WriteCloser
	if wsstream.IsWebSocketRequest(r) {
		if !s.websockets {
			http.Error(w, "unable to upgrade: missing upgrade headers in request", http.StatusBadRequest)
			return
		}
		s.took("websocket")
		conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{remotecommand.StreamProtocolV5Name: {Binary: true, Channels: []wsstream.ChannelType{
			wsstream.ReadChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.WriteChannel, wsstream.ReadChannel,
		}}})
		conn.SetIdleTimeout(time.Minute)
		_, streams, err := conn.Open(w, r)
		if err != nil {
			return // the client went away
		}
		defer conn.Close()
		stdin, stdout, status = streams[remotecommand.StreamStdIn], streams[remotecommand.StreamStdOut], streams[remotecommand.StreamErr]
	} else {
		s.took("spdy")
		if _, err := httpstream.Handshake(r, w, []string{remotecommand.StreamProtocolV4Name}); err != nil {
			return
		}
		opened := make(chan httpstream.Stream, 4)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, _ <-chan struct{}) error {
			opened <- stream
			return nil
		})
		if conn == nil {
			return
		}
		defer conn.Close()
		for range 4 {
			select {
			case stream := <-opened:
				switch stream.Headers().Get(corev1.StreamType) {
				case corev1.StreamTypeStdin:
					stdin = stream
				case corev1.StreamTypeStdout:
					stdout = stream
				case corev1.StreamTypeError:
					status = stream
				}
			case <-conn.CloseChan():
				return
			}
		}
	}
	ours, theirs := net.Pipe()
	go func() {
		_, _ = io.Copy(ours, stdin)
		ours.Close()
	}()
	go s.connect(node, theirs)
	_, _ = io.Copy(stdout, ours)
	_ = json.NewEncoder(status).Encode(metav1.Status{Status: metav1.StatusSuccess})
}

// serveHTTP answers requests on one connection, as an agent's socket does.
func serveHTTP(c net.Conn, handler http.Handler) {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	closed := make(chan struct{})
	server.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	_ = server.Serve(&oneConn{c: c, closed: closed})
}

// oneConn is a listener that has one connection.
type oneConn struct {
	c      net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if c := l.c; c != nil {
		l.c = nil
		return c, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error   { return nil }
func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "agent", Net: "unix"} }

// healthy is an agent whose every answer names its node, with some ballast.
func healthy(node string, ballast int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"node":%q,"version":"v1","kernel":%q}`, node, strings.Repeat("k", ballast))
	})
}
