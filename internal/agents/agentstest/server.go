// Package agentstest is an API server that knows agents' pods, for tests.
package agentstest

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/remotecommand"
	"k8s.io/client-go/rest"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"
	"k8s.io/streaming/pkg/httpstream/wsstream"
)

// Server is an API server that knows agents' pods and execs into them. Set its fields before it is asked.
type Server struct {
	t          *testing.T
	Nodes      []string                      // each has an agent's pod: agent-NODE
	WebSockets bool                          // servers before 1.30 have none
	Connect    func(node string, c net.Conn) // what runs in a node's pod, with c for its standard input and output
	mu         sync.Mutex
	Objects    map[string]any         // by path of the request: lists of pods and nodes, Services
	Forbidden  string                 // a path that nobody may ask for
	NoExec     bool                   // into the agents' own pods nobody may exec
	Viewers    bool                   // each node has a viewers' pod too, viewer-NODE; into the agents' own nobody may exec
	Jobs       map[string]batchv1.Job // those there are, in kube-system, each with a pod of its name
	Why        string                 // their containers wait for that; "" to run
	WhyOn      string                 // on this node alone
	Ended      string                 // they have ended, with that as the end of their log
	Lists      int                    // so often they are listed, and are gone then; 0 for always
	listed     int
	Execs      map[string]int // how often each way was taken: "websocket", "spdy"
}

// New returns one with agents on some nodes.
func New(t *testing.T, nodes ...string) *Server {
	return &Server{t: t, Nodes: nodes, WebSockets: true, Execs: map[string]int{}, Jobs: map[string]batchv1.Job{}}
}

// Config starts the server, and returns what leads a client to it.
func (s *Server) Config() *rest.Config {
	server := httptest.NewServer(s)
	s.t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL, QPS: 1000, Burst: 1000}
}

// ServeHTTP answers a client of the API server.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.ephemeral(w, r) {
		return
	}
	pod, isExec := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/tracer/pods/"), "/exec")
	viewer, isViewer := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/api/v1/namespaces/tracer-viewer/pods/"), "/exec")
	object, known := s.Objects[r.URL.Path]
	switch {
	case known:
		s.answer(w, object)
	case s.Forbidden != "" && r.URL.Path == s.Forbidden:
		s.forbid(w, "get", "services")
	case isViewer && strings.HasPrefix(viewer, "viewer-"):
		if q := r.URL.Query(); q.Get("container") != "viewer" || strings.Join(q["command"], " ") != "/tracer connect --socket /run/tracer-viewer/agent.sock" {
			http.Error(w, "another command: "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		s.took("viewer")
		s.exec(w, r, strings.TrimPrefix(viewer, "viewer-"))
	case isExec && (s.Viewers || s.NoExec):
		s.forbid(w, "create", "pods/exec")
	case isExec:
		if q := r.URL.Query(); q.Get("container") != "agent" || strings.Join(q["command"], " ") != "/tracer connect" {
			http.Error(w, "another command: "+r.URL.RawQuery, http.StatusBadRequest)
			return
		}
		s.exec(w, r, strings.TrimPrefix(pod, "agent-"))
	case r.URL.Path == "/api/v1/services":
		s.answer(w, &corev1.ServiceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"}})
	case r.URL.Path == "/api/v1/nodes":
		s.answer(w, &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}})
	case r.URL.Path == "/api/v1/namespaces/tracer/pods":
		s.answer(w, s.pods("tracer", "agent"))
	case s.Viewers && r.URL.Path == "/api/v1/namespaces/tracer-viewer/pods":
		s.answer(w, s.pods("tracer-viewer", "viewer"))
	case (s.Viewers || s.NoExec) && r.URL.Path == "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews":
		s.answer(w, &authorizationv1.SelfSubjectAccessReview{TypeMeta: metav1.TypeMeta{APIVersion: "authorization.k8s.io/v1", Kind: "SelfSubjectAccessReview"}})
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"NotFound","code":404,"message":"not found"}`)
	}
}

// pods are each node's pod of one container.
func (s *Server) pods(namespace, container string) *corev1.PodList {
	list := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}}
	for _, n := range s.Nodes {
		list.Items = append(list.Items, corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: container + "-" + n, Namespace: namespace},
			Spec:       corev1.PodSpec{NodeName: n},
			Status: corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{
				{Name: container, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}},
			}},
		})
	}
	return list
}

func (s *Server) answer(w http.ResponseWriter, object any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(object); err != nil {
		s.t.Errorf("answer: %v", err)
	}
}

func (s *Server) took(way string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Execs[way]++
}

// exec answers as an API server does, by WebSocket if it has that, else by SPDY.
func (s *Server) exec(w http.ResponseWriter, r *http.Request, node string) {
	var stdin io.Reader
	var stdout, status io.WriteCloser
	if wsstream.IsWebSocketRequest(r) {
		if !s.WebSockets {
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
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(stream httpstream.Stream, replied <-chan struct{}) error {
			go func() { // before, it is not registered: it would outlive the connection
				<-replied
				opened <- stream
			}()
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
	go s.Connect(node, theirs)
	_, _ = io.Copy(stdout, ours)
	_ = json.NewEncoder(status).Encode(metav1.Status{Status: metav1.StatusSuccess})
}

// Serve answers requests on one connection, as an agent's socket does.
func Serve(c net.Conn, handler http.Handler) {
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

// forbid answers as an API server whose authorizer says no.
func (s *Server) forbid(w http.ResponseWriter, verb, resource string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusForbidden)
	message := fmt.Sprintf("%s is forbidden: User %q cannot %s resource %q", resource, "me", verb, resource)
	fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403,"message":%q,"details":{"kind":%q}}`, message, resource)
}
