package agents

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/streaming/pkg/httpstream"

	"tracer/internal/export/api"
)

// Client returns one for a node's agent. Close it.
func (c *Cluster) Client(a Agent) *api.Client {
	return api.NewClient(a.Node, "upgrade the agents, or take the plugin of their version", func(context.Context) (net.Conn, error) { return c.Connect(a) })
}

// Connect opens a stream to a node's agent, on which it answers as on its socket.
func (c *Cluster) Connect(a Agent) (net.Conn, error) {
	if a.Why != "" {
		return nil, errors.New(a.Why)
	}
	return c.connect(a)
}

// connect runs "tracer connect" in an agent's pod, and returns the other end of its standard input and output.
func (c *Cluster) connect(a Agent) (net.Conn, error) {
	namespace, in, command := c.namespace, container, []string{"/tracer", "connect"}
	switch {
	case a.Ephemeral:
		namespace = c.ephemeral.Namespace
	case a.Viewer:
		namespace, in, command = c.viewers, viewerContainer, append(command, "--socket", api.ViewerSocket)
	}
	request := c.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(a.Pod).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{Container: in, Command: command, Stdin: true, Stdout: true, Stderr: true}, scheme.ParameterCodec)
	websocket, err := remotecommand.NewWebSocketExecutor(c.config, "GET", request.URL().String())
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", a.Pod, err)
	}
	spdy, err := remotecommand.NewSPDYExecutor(c.config, "POST", request.URL())
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", a.Pod, err)
	}
	// As kubectl exec does: servers before 1.30 have no WebSockets.
	exec, err := remotecommand.NewFallbackExecutor(websocket, spdy, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	if err != nil {
		return nil, fmt.Errorf("exec in %s: %w", a.Pod, err)
	}
	ours, theirs := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	s := &stream{Conn: ours, cancel: cancel, ended: make(chan struct{})}
	go func() {
		var stderr beginning
		stdout := &output{Conn: theirs}
		err := exec.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: input{theirs}, Stdout: stdout, Stderr: &stderr})
		if err == nil && !stdout.written.Load() {
			err = errors.New("it ended without an answer")
		}
		if said := strings.TrimSpace(stderr.String()); err != nil && said != "" {
			err = fmt.Errorf("%w: %s", err, said)
		}
		if err != nil && ctx.Err() == nil {
			s.err = fmt.Errorf("exec in %s: %w", a.Pod, err)
		}
		close(s.ended) // before who reads and writes can ask why it ended
		theirs.Close()
	}()
	return s, nil
}

// stream is a connection that says why it ended.
type stream struct {
	net.Conn
	cancel context.CancelFunc
	close  sync.Once
	ended  chan struct{}
	err    error // set when ended is closed
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	if errors.Is(err, io.EOF) {
		<-s.ended
		if s.err != nil {
			err = s.err
		}
	}
	return n, err
}

func (s *stream) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if errors.Is(err, io.ErrClosedPipe) {
		select {
		case <-s.ended:
			if s.err != nil {
				err = s.err
			}
		default:
		}
	}
	return n, err
}

func (s *stream) Close() error {
	s.close.Do(s.cancel)
	return s.Conn.Close()
}

// input is what a command reads. That our side is closed is its end, and no error.
type input struct{ net.Conn }

func (i input) Read(p []byte) (int, error) {
	n, err := i.Conn.Read(p)
	if errors.Is(err, io.ErrClosedPipe) {
		err = io.EOF
	}
	return n, err
}

// output is where a command writes to.
type output struct {
	net.Conn
	written atomic.Bool // anything at all
}

func (o *output) Write(p []byte) (int, error) {
	o.written.Store(true)
	return o.Conn.Write(p)
}

// beginning keeps the beginning of what is written. What is cut off may still be written to while it is read.
type beginning struct {
	mu   sync.Mutex
	kept bytes.Buffer
}

// maxStderr is how much of a command's complaints is kept, in bytes.
const maxStderr = 4096

func (b *beginning) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.kept.Write(p[:min(len(p), max(0, maxStderr-b.kept.Len()))])
	return len(p), nil
}

func (b *beginning) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.kept.String()
}
