// Package apiserver stands for a Kubernetes API server, as far as an agent asks one: it can go away and come back.
package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Server answers list and watch of pods, and of Services and EndpointSlices, of which it has none, in protobuf. Its methods may be
// called by many goroutines at once.
type Server struct {
	listen func() (net.Listener, error)

	mu      sync.Mutex
	server  *http.Server // nil while it is away
	version int
	pods    map[string]*corev1.Pod
	events  []podEvent    // one for each version, from 1 on
	changed chan struct{} // closed with the next event
}

type podEvent struct {
	kind string
	pod  *corev1.Pod
}

// New returns one that is away. It will answer on what listen returns, each time that it comes.
func New(listen func() (net.Listener, error)) *Server {
	return &Server{listen: listen, pods: map[string]*corev1.Pod{}, changed: make(chan struct{})}
}

// Kubeconfig writes a kubeconfig for a server at an address, and returns its path.
func Kubeconfig(dir, address string) (string, error) {
	file := filepath.Join(dir, "kubeconfig")
	text := fmt.Sprintf(`{clusters: [{name: a, cluster: {server: "http://%s"}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}`, address)
	return file, os.WriteFile(file, []byte(text), 0o600)
}

// Come has it answer.
func (s *Server) Come() error {
	listener, err := s.listen()
	if err != nil {
		return fmt.Errorf("API server: %w", err)
	}
	server := &http.Server{Handler: s}
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(listener) }() // until GoAway
	return nil
}

// GoAway breaks all connections off and answers no more.
func (s *Server) GoAway() error {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server == nil {
		return nil
	}
	return server.Close()
}

// SetPod makes a pod of a node or changes it; with no address it is deleted. Its StatefulSet has the name up to the first dash.
func (s *Server) SetPod(name, node, address string) {
	owner, _, _ := strings.Cut(name, "-")
	s.SetPodOf(owner, name, node, address)
}

// SetPodOf makes a pod whose StatefulSet has that name.
func (s *Server) SetPodOf(owner, name, node, address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.version++
	kind := "MODIFIED"
	if s.pods[name] == nil {
		kind = "ADDED"
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: "default", UID: uid(name), ResourceVersion: strconv.Itoa(s.version),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: owner, Controller: new(true)}},
		},
		Spec:   corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, PodIPs: []corev1.PodIP{{IP: address}}},
	}
	s.pods[name] = pod
	if address == "" {
		kind = "DELETED"
		delete(s.pods, name)
	}
	s.events = append(s.events, podEvent{kind, pod})
	close(s.changed)
	s.changed = make(chan struct{})
}

// uid is a pod's, which a server makes, and nobody chooses.
func uid(name string) types.UID {
	hash := fnv.New64a()
	hash.Write([]byte(name))
	return types.UID(fmt.Sprintf("%016x", hash.Sum64()))
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	var err error
	switch kind := path.Base(r.URL.Path); {
	case query.Get("sendInitialEvents") == "true": // as a server says that has no streaming lists
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusUnprocessableEntity)
		err = json.NewEncoder(w).Encode(metav1.Status{
			TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonInvalid,
			Message: "sendInitialEvents is forbidden", Code: http.StatusUnprocessableEntity,
		})
	case query.Get("watch") == "true":
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf;stream=watch")
		w.WriteHeader(http.StatusOK)
		from, _ := strconv.Atoi(query.Get("resourceVersion"))
		err = s.watch(r.Context(), w, kind, from)
	default:
		w.Header().Set("Content-Type", "application/vnd.kubernetes.protobuf")
		err = s.list(w, kind)
	}
	if err != nil && r.Context().Err() == nil {
		fmt.Fprintln(os.Stderr, "API server:", err)
	}
}

func (s *Server) list(w http.ResponseWriter, kind string) error {
	s.mu.Lock()
	meta := metav1.ListMeta{ResourceVersion: strconv.Itoa(max(s.version, 1))}
	pods := &corev1.PodList{ListMeta: meta}
	for _, p := range s.pods {
		pods.Items = append(pods.Items, *p)
	}
	s.mu.Unlock()
	var data []byte
	var err error
	switch kind {
	case "pods":
		data, err = Wrapped("v1", "PodList", pods)
	case "services":
		data, err = Wrapped("v1", "ServiceList", &corev1.ServiceList{ListMeta: meta})
	case "endpointslices":
		data, err = Wrapped("discovery.k8s.io/v1", "EndpointSliceList", &discoveryv1.EndpointSliceList{ListMeta: meta})
	default:
		return fmt.Errorf("there are no %s", kind)
	}
	if err != nil {
		return err
	}
	_, err = w.Write(data)
	return err
}

// watch sends the events after a version, until the client or the server goes away.
func (s *Server) watch(ctx context.Context, w http.ResponseWriter, kind string, from int) error {
	for {
		if err := http.NewResponseController(w).Flush(); err != nil {
			return err
		}
		s.mu.Lock()
		changed, events := s.changed, s.events[min(from, len(s.events)):]
		s.mu.Unlock()
		if from += len(events); kind != "pods" {
			events = nil
		}
		for _, e := range events {
			object, err := Wrapped("v1", "Pod", e.pod)
			if err != nil {
				return err
			}
			event, err := Event(e.kind, object)
			if err != nil {
				return err
			}
			if _, err := w.Write(event); err != nil {
				return err
			}
		}
		if len(events) > 0 {
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}
