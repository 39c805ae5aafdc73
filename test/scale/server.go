package main

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/test/apiserver"
)

// server answers list and watch of a cluster's objects, in protobuf, as the API server of Kubernetes 1.37 does: a watch may begin
// with all that there is (a streaming list), and is compressed then. It makes each object as it sends it.
type server struct {
	streams bool // it has streaming lists; if not, it is as those before Kubernetes 1.34

	mu      sync.Mutex
	cluster *cluster
	version int // of what changed last; the first is 1
	changes []change
	changed chan struct{} // closed with the next change
	asked   chan struct{} // closed with the first request
}

// change is one event of a watch, ready to be sent.
type change struct {
	resource, node string // the node of a pod
	event          []byte
}

func newServer(c *cluster, streams bool) *server {
	return &server{streams: streams, cluster: c, version: 1, changed: make(chan struct{}), asked: make(chan struct{})}
}

// resource is what the server knows of a kind of object.
type resource struct {
	version, kind string
	count         func(*cluster) int
	object        func(c *cluster, i int, version string) (object apiserver.Marshaler, node string)
}

func resourceOf(name string) (resource, bool) {
	switch name {
	case "pods":
		return resource{"v1", "Pod", func(c *cluster) int { return c.pods },
			func(c *cluster, i int, version string) (apiserver.Marshaler, string) {
				return c.pod(i, version), c.node(i)
			}}, true
	case "services":
		return resource{"v1", "Service", func(c *cluster) int { return c.services },
			func(c *cluster, i int, version string) (apiserver.Marshaler, string) {
				return c.service(i, version), ""
			}}, true
	case "endpointslices":
		return resource{"discovery.k8s.io/v1", "EndpointSlice", func(c *cluster) int { return c.services * c.slicesOf() },
			func(c *cluster, i int, version string) (apiserver.Marshaler, string) { return c.slice(i, version), "" }}, true
	}
	return resource{}, false
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	select {
	case <-s.asked:
	default:
		close(s.asked)
	}
	s.mu.Unlock()
	query, name := r.URL.Query(), path.Base(r.URL.Path)
	of, ok := resourceOf(name)
	if !ok {
		http.NotFound(w, r)
		return
	}
	node := strings.TrimPrefix(query.Get("fieldSelector"), "spec.nodeName=")
	streaming := query.Get("sendInitialEvents") == "true"
	if streaming && !s.streams {
		http.Error(w, "sendInitialEvents is forbidden", http.StatusUnprocessableEntity)
		return
	}
	out := &stream{w: w, to: w, flush: http.NewResponseController(w).Flush}
	kind := "application/vnd.kubernetes.protobuf"
	if query.Get("watch") == "true" {
		kind += ";stream=watch"
	}
	w.Header().Set("Content-Type", kind)
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") && (streaming || query.Get("watch") != "true") {
		w.Header().Set("Content-Encoding", "gzip")
		out.compress()
	}
	var err error
	switch {
	case streaming:
		var from int
		if from, err = s.all(out, name, node, of); err == nil {
			err = s.watch(r.Context(), out, name, node, from)
		}
	case query.Get("watch") == "true":
		from, _ := strconv.Atoi(query.Get("resourceVersion"))
		err = s.watch(r.Context(), out, name, node, from)
	default:
		err = s.list(out, node, of)
	}
	if err != nil && r.Context().Err() == nil {
		fmt.Fprintln(os.Stderr, "API server:", err)
	}
}

// each hands over every object, as it is now; what changes meanwhile is sent later. The version is that of before.
func (s *server) each(of resource, node string, do func(object apiserver.Marshaler) error) (version int, err error) {
	s.mu.Lock()
	version = s.version
	count := of.count(s.cluster)
	s.mu.Unlock()
	for i := range count {
		if of.kind == "Pod" && node != "" && nodeName(i%s.cluster.nodes) != node {
			continue
		}
		s.mu.Lock()
		object, _ := of.object(s.cluster, i, strconv.Itoa(version))
		s.mu.Unlock()
		if err := do(object); err != nil {
			return 0, err
		}
	}
	return version, nil
}

// all is how a streaming list begins.
func (s *server) all(out *stream, name, node string, of resource) (version int, err error) {
	version, err = s.each(of, node, func(object apiserver.Marshaler) error { return out.event(of, "ADDED", object) })
	if err != nil {
		return 0, err
	}
	meta := metav1.ObjectMeta{ResourceVersion: strconv.Itoa(version), Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}
	var end apiserver.Marshaler
	switch name {
	case "pods":
		end = &corev1.Pod{ObjectMeta: meta}
	case "services":
		end = &corev1.Service{ObjectMeta: meta}
	default:
		end = &discoveryv1.EndpointSlice{ObjectMeta: meta}
	}
	if err := out.event(of, "BOOKMARK", end); err != nil {
		return 0, err
	}
	return version, out.send()
}

// list answers with all in one piece, whose length is not known before: its items come one after another in the list's field 2, inside
// of the envelope's field 2. To know that length it makes every object twice.
func (s *server) list(out *stream, node string, of resource) error {
	meta, err := (&metav1.ListMeta{ResourceVersion: strconv.Itoa(s.now())}).Marshal()
	if err != nil {
		return err
	}
	field := func(number byte, data []byte) []byte {
		return append(binary.AppendUvarint([]byte{number<<3 | 2}, uint64(len(data))), data...)
	}
	head := field(1, meta)
	total := len(head)
	item := func(do func([]byte) error) error {
		_, err := s.each(of, node, func(object apiserver.Marshaler) error {
			data, err := object.Marshal()
			return errors.Join(err, do(field(2, data)))
		})
		return err
	}
	if err := item(func(data []byte) error { total += len(data); return nil }); err != nil {
		return err
	}
	kind := append(field(1, []byte(of.version)), field(2, []byte(of.kind+"List"))...)
	envelope := append([]byte("k8s\x00"), field(1, kind)...)
	envelope = binary.AppendUvarint(append(envelope, 2<<3|2), uint64(total))
	if _, err := out.Write(append(envelope, head...)); err != nil {
		return err
	}
	if err := item(func(data []byte) error { _, err := out.Write(data); return err }); err != nil {
		return err
	}
	return out.send()
}

func (s *server) now() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// watch sends what changes after a version, until the client goes away.
func (s *server) watch(ctx context.Context, out *stream, name, node string, from int) error {
	if err := out.flush(); err != nil {
		return err
	}
	for {
		s.mu.Lock()
		changed, changes := s.changed, s.changes[min(max(from-1, 0), len(s.changes)):]
		s.mu.Unlock()
		from += len(changes)
		for _, c := range changes {
			if c.resource != name || node != "" && c.node != "" && c.node != node {
				continue
			}
			if _, err := out.Write(c.event); err != nil {
				return err
			}
		}
		if err := out.send(); err != nil {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// tell is an event of the object with a number, as it is now. The lock is held.
func (s *server) tell(what, name string, i int) error {
	of, _ := resourceOf(name)
	s.version++
	object, node := of.object(s.cluster, i, strconv.Itoa(s.version))
	data, err := apiserver.Wrapped(of.version, of.kind, object)
	if err != nil {
		return err
	}
	event, err := apiserver.Event(what, data)
	s.changes = append(s.changes, change{name, node, event})
	close(s.changed)
	s.changed = make(chan struct{})
	return err
}

// stream is an answer that is being sent. What is compressed is a whole of its own each time that it is sent, as Kubernetes does it.
type stream struct {
	w     io.Writer
	to    io.Writer
	gzip  *gzip.Writer
	dirty bool
	flush func() error
}

func (o *stream) compress() {
	o.gzip, _ = gzip.NewWriterLevel(o.w, gzip.BestSpeed) // it fails for other levels alone
	o.to = o.gzip
}

func (o *stream) Write(data []byte) (int, error) {
	if o.gzip != nil && !o.dirty {
		o.gzip.Reset(o.w)
	}
	o.dirty = true
	return o.to.Write(data)
}

func (o *stream) event(of resource, what string, object apiserver.Marshaler) error {
	data, err := apiserver.Wrapped(of.version, of.kind, object)
	if err != nil {
		return err
	}
	event, err := apiserver.Event(what, data)
	if err == nil {
		_, err = o.Write(event)
	}
	return err
}

func (o *stream) send() error {
	if !o.dirty {
		return nil
	}
	o.dirty = false
	if o.gzip != nil {
		// Flushed first: else whoever reads waits at its end for the next whole before handing over this one's last bytes.
		if err := errors.Join(o.gzip.Flush(), o.gzip.Close()); err != nil {
			return err
		}
	}
	return o.flush()
}
