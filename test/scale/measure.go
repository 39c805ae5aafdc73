package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"tracer/internal/identity"
	"tracer/test/labagent"
	"tracer/test/scrape"
)

// options say what is simulated, and for how long.
type options struct {
	size
	binary  string
	changes float64 // pods replaced a second
	watch   time.Duration
	peers   int // pods that the node sends to
	rate    float64
	streams bool // the API server has streaming lists
}

// measured is what one agent took.
type measured struct {
	scope          string
	known          time.Duration // from the start until all is listed
	named          time.Duration // until the first pair has both names
	asked          time.Duration // until its first request: it pauses for up to three seconds
	toKnow         uint64        // bytes that it was sent to know all
	perHour        float64       // bytes that it was sent while pods were replaced
	resident, most uint64
	heap           float64
	cores          float64 // while pods were replaced
	series, pairs  int
	byPair         int // of the series
	replaced       int
	saved          int64         // bytes of the file with all names
	changes        int64         // bytes of the file with those that changed, as it was saved last while pods were replaced
	changedIn      time.Duration // how long pods had been replaced then; 0 if nothing was saved
}

// measure has one agent after another, in each scope; in the order of the scopes.
func measure(ctx context.Context, o options, scopes []string, say func(string, ...any)) (all []measured, err error) {
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	c := newCluster(o.size)
	node, err := upFirstNode(ctx, dir, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, node.Down()) }()
	for _, scope := range scopes {
		say("an agent, scope %s", scope)
		of := scope
		if scope == again {
			of = string(identity.NodeScope)
		}
		m, err := measureAgent(ctx, o, c, node, filepath.Join(dir, of), scope)
		if err != nil {
			return all, fmt.Errorf("scope %s: %w", scope, err)
		}
		all = append(all, m)
	}
	return all, nil
}

// again is the scope of an agent in node scope that was there before, and finds the names that it has saved.
const again = "again"

// noServer is the scope of the agent that asks no API server: a file names the pods that it sees, and no others.
const noServer = "file"

// nameFile writes it, for as many peers.
func nameFile(file string, c *cluster, peers int) error {
	var text strings.Builder
	entry := func(i int) {
		fmt.Fprintf(&text, "- {ip: %s, namespace: %s, pod: %s, workload: %s, node: %s}\n", c.address(i), c.namespace(i%c.services), c.podName(i), c.workload(i), c.node(i))
	}
	for i := range c.placed {
		entry(i)
	}
	for i := range peers {
		entry(c.peer(i))
	}
	return os.WriteFile(file, []byte(text.String()), 0o600)
}

func measureAgent(ctx context.Context, o options, c *cluster, node *firstNode, dir, scope string) (m measured, err error) {
	m.scope = scope
	s := newServer(c, o.streams)
	var listener countingListener
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return m, err
	}
	err = node.Node(1).Do(func() (err error) {
		listener.Listener, err = net.Listen("tcp", "127.0.0.1:0")
		return err
	})
	if err != nil {
		return m, err
	}
	web := httptest.NewUnstartedServer(s)
	web.Listener.Close()
	web.Listener, web.EnableHTTP2 = &listener, true
	web.StartTLS()
	defer func() { web.CloseClientConnections(); web.Close() }()
	config, err := kubeconfig(dir, web)
	if err != nil {
		return m, err
	}
	names := filepath.Join(dir, "names.yaml")
	arguments := []string{"--kubeconfig", config, "--node-name", nodeName(0), "--identity-scope", scope}
	switch scope {
	case noServer:
		arguments = []string{"--identity-file", names}
	case again:
		arguments[len(arguments)-1] = string(identity.NodeScope)
	}
	if err := nameFile(names, c, o.peers); err != nil {
		return m, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	defer func() {
		cancel()
		err = errors.Join(err, group.Wait())
	}()
	group.Go(func() error { return node.answer(ctx) })
	group.Go(func() error { return node.send(ctx, c, o.peers, o.rate) })
	began := time.Now()
	a, err := labagent.Start(node.Lab, o.binary, dir, arguments...)
	if err != nil {
		return m, err
	}
	defer func() {
		err = errors.Join(err, a.Stop()) // which saves what has changed
		m.saved, _ = file(a.State, "identities.json")
	}()
	if err := m.start(ctx, a, s, scope, began); err != nil {
		return m, err
	}
	m.toKnow = listener.sent.Load()
	return m, m.live(ctx, a, s, &listener, o)
}

// patience is how long an agent may take to know all.
const patience = 5 * time.Minute

// start waits until the agent knows all, and notes what it took.
func (m *measured) start(ctx context.Context, a *labagent.Agent, s *server, scope string, began time.Time) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("not within %v", patience))
	defer cancel()
	if scope == noServer {
		at, err := a.Await(ctx, "it counts packets", func(all []scrape.Sample) bool { return pairsOf(all, func(string) bool { return true }) > 0 })
		m.known = at.Sub(began)
		return err
	}
	select {
	case <-s.asked:
		m.asked = time.Since(began)
	case <-ctx.Done():
		return fmt.Errorf("wait for the first request: %w; the agent says %s", context.Cause(ctx), a.Said())
	}
	kinds := map[string]int{"node": 3, again: 3, "cluster": 2}[scope]
	var named time.Time
	at, err := a.Await(ctx, "it knows all", func(all []scrape.Sample) bool {
		if named.IsZero() && pairsOf(all, bothNamed) > 0 {
			named = time.Now()
		}
		synced := 0
		for _, x := range all {
			if x.Name == "tracer_identity_synced" {
				synced += int(x.Value)
			}
		}
		return synced == kinds
	})
	if err != nil {
		return err
	}
	m.known = at.Sub(began)
	if named.IsZero() {
		if named, err = a.Await(ctx, "a pair has both names", func(all []scrape.Sample) bool { return pairsOf(all, bothNamed) > 0 }); err != nil {
			return err
		}
	}
	m.named = named.Sub(began)
	return nil
}

// live measures the agent while pods are replaced.
func (m *measured) live(ctx context.Context, a *labagent.Agent, s *server, sent *countingListener, o options) error {
	before, err := a.Scrape(ctx)
	if err != nil {
		return err
	}
	from, began := sent.sent.Load(), time.Now()
	churning, stop := context.WithTimeout(ctx, o.watch)
	defer stop()
	if m.replaced, err = s.churn(churning, o.changes); err != nil {
		return err
	}
	took := time.Since(began)
	// What was told last is on its way for a moment: of a minute that is nothing.
	m.perHour = float64(sent.sent.Load()-from) / took.Seconds() * 3600
	if size, saved := file(a.State, "identities.changes"); saved.After(began) { // before the agent's end, which makes one file of both
		m.changes, m.changedIn = size, saved.Sub(began)
	}
	all, err := a.Scrape(ctx)
	if err != nil {
		return err
	}
	m.cores = (valueOf(all, "process_cpu_seconds_total") - valueOf(before, "process_cpu_seconds_total")) / took.Seconds()
	m.heap = valueOf(all, "go_gc_heap_live_bytes")
	for _, x := range all {
		if strings.Contains(x.Labels, "src_workload=") {
			m.byPair++
		}
	}
	m.series, m.pairs = len(all), pairsOf(all, bothNamed)
	m.resident, m.most, err = memory(a.Pid)
	return err
}

// file is how large a file is, in bytes, and when it was written last; zero if there is none.
func file(dir, name string) (size int64, written time.Time) {
	info, err := os.Stat(filepath.Join(dir, name))
	if err != nil {
		return 0, time.Time{}
	}
	return info.Size(), info.ModTime()
}

// valueOf is the value of a series without labels, 0 if there is none.
func valueOf(all []scrape.Sample, name string) float64 {
	for _, x := range all {
		if x.Name == name {
			return x.Value
		}
	}
	return 0
}

// pairsOf counts the pairs with series of their own.
func pairsOf(all []scrape.Sample, which func(labels string) bool) (n int) {
	for _, x := range all {
		if x.Name == "tracer_packets_total" && which(x.Labels) {
			n++
		}
	}
	return n
}

// bothNamed tells whether a pair's labels name a workload of the cluster on both sides.
func bothNamed(labels string) bool {
	return strings.Contains(labels, `src_workload="checkout-`) && strings.Contains(labels, `dst_workload="checkout-`)
}

// kubeconfig writes one that leads to the server, and returns its path.
func kubeconfig(dir string, web *httptest.Server) (string, error) {
	file := filepath.Join(dir, "kubeconfig")
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: web.Certificate().Raw})
	text := fmt.Sprintf(`{clusters: [{name: a, cluster: {server: %q, certificate-authority-data: %s}}], contexts: [{name: a, context: {cluster: a}}], current-context: a}`,
		web.URL, base64.StdEncoding.EncodeToString(authority))
	return file, os.WriteFile(file, []byte(text), 0o600)
}
