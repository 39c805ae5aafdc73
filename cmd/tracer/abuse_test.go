//go:build abuse

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/test/scrape"
	"tracer/test/steady"
)

// What clients can take of an agent, whoever they are.
const (
	mostMiB    = 96              // of memory while they are there
	leftMiB    = 32              // of it once all of them are gone
	mostCores  = 0.5             // of CPU, beside what tracing takes
	mostHealth = 5 * time.Second // until the kubelet is answered: the timeout of the chart's liveness probe
)

// abuse is what clients do to the agent's servers: each sends a request and reads nothing, or asks again and again.
type abuse struct {
	what, servers string
	clients       int // of each server
	request       string
	ask           *asking
}

// asking is how clients ask for metrics again and again.
type asking struct {
	distrust bool   // the agent's certificate, and so end the handshake
	password string // of the user prometheus
	pause    time.Duration
	again    bool // by a new connection each time
}

const slow = "GET / HTTP/1.1\r\nHost: x\r\n" // the header does not end

// unfinished is a header of so many bytes without its end, of as many different fields as possible: that is what takes most memory.
func unfinished(bytes int) string {
	text := "GET /metrics HTTP/1.1\r\nHost: x\r\n"
	for i := 0; len(text) < bytes; i++ {
		text += strconv.FormatInt(int64(i), 36) + ":\r\n"
	}
	return text
}

var (
	plain = []abuse{
		{what: "nothing: there are no clients"},
		{"streams of traces that nobody reads", "socket", 500, "GET /v1/trace HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"views that nobody reads", "socket", 500, "GET /v1/overview?interval=100ms HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"slow requests to the socket", "socket", 2000, slow, nil},
		{"slow requests to /metrics", "metrics", 2000, slow, nil},
		{"slow requests to the probes' port", "health", 2000, slow, nil},
		{"scrapes that nobody reads", "metrics", 1000, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"requests for all flows that nobody reads", "socket", 1000, "GET /v1/snapshot HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"requests with a body of 1 TB", "metrics", 1000, "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1099511627776\r\n\r\n" + strings.Repeat("x", 32<<10), nil},
		{"headers without end", "metrics", 1000, "GET /metrics HTTP/1.1\r\n" + strings.Repeat("X: y\r\n", 10_000), nil},
		{"headers of 8 KB that are not finished, to all three servers", "metrics health socket", 500, unfinished(8000), nil},
		{"headers of 20 KB that are not finished", "socket", 1000, unfinished(20_000), nil},
		{"no HTTP", "metrics", 1000, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", nil},
		{"a scrape each 100 ms", "metrics", 1, "", &asking{pause: 100 * time.Millisecond}},
		{"scrapes without a pause", "metrics", 8, "", &asking{}},
		{"connections without a pause", "metrics", 8, "", &asking{again: true}},
	}
	secured = []abuse{
		{what: "nothing: there are no clients"},
		{"no TLS", "metrics", 1000, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", nil},
		{"handshakes that the client ends, without a pause", "metrics", 8, "", &asking{distrust: true, again: true}},
		{"wrong passwords without a pause", "metrics", 8, "", &asking{password: "guess"}},
		{"wrong passwords, each by a connection of its own", "metrics", 8, "", &asking{password: "guess", again: true}},
		{"a scrape each 100 ms, by TLS and password", "metrics", 1, "", &asking{password: password, pause: 100 * time.Millisecond}},
	}
)

// password is the right one; hashed is its hash at the usual cost.
const password, hashed = "secret", "$2a$10$w.TSxsKCeSR7/uwGfV9tdermQlZpTAy7tOlJPiAwwlD6jeUqx5xDO"

// TestAbuse does to agents under load what their clients must not be able to: they answer the kubelet meanwhile and lose no record, what
// it takes of memory and CPU stays within bounds, and is given back. It prints the tables of docs/reports/reliability.md; make abuse runs it.
func TestAbuse(t *testing.T) {
	s := newStarved(t, 300)
	server := httptest.NewTLSServer(nil) // for its certificate
	server.Close()
	trusting := server.Client().Transport.(*http.Transport).TLSClientConfig
	for _, test := range []struct {
		name, webConfig string
		cases           []abuse
	}{
		{"plain", "", plain},
		{"secured", webConfig(t, server.TLS.Certificates[0]), secured},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := startAbused(t, s.lab.Node(1), trusting, test.webConfig)
			t.Logf("| what | clients | memory before, at most, after (MiB) | CPU (cores) | slowest answer of /healthz |")
			for _, c := range test.cases {
				t.Run(c.what, func(t *testing.T) {
					a.t = t
					steady.Repeat(t, func() string { return a.suffers(c) })
				})
			}
			a.t = t
			a.await("memory to be given back", func() bool { return a.resident() <= a.first.resident+leftMiB })
			t.Logf("%.0f MiB at first, %.0f in the end", a.first.resident, a.resident())
			if err := a.stop(); err != nil {
				t.Errorf("the end: %v", err)
			}
		})
	}
}

// webConfig writes a web configuration with that certificate and a password.
func webConfig(t *testing.T, certificate tls.Certificate) (path string) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, content := range map[string][]byte{
		"web.yaml": []byte("tls_server_config: {cert_file: cert.pem, key_file: key.pem}\nbasic_auth_users: {prometheus: " + hashed + "}\n"),
		"cert.pem": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: certificate.Certificate[0]}),
		"key.pem":  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "web.yaml")
}

// abused is an agent on a node with load.
type abused struct {
	*agentProcess
	node    lab.Node
	url     string // of its metrics
	trusted *tls.Config
	first   taken
	alone   float64 // cores it takes without clients
}

// taken is what an agent has taken.
type taken struct {
	resident                float64 // MiB
	descriptors, goroutines float64
	lost                    float64 // records since its start
}

func startAbused(t *testing.T, node lab.Node, trusted *tls.Config, webConfig string) *abused {
	t.Helper()
	a := &abused{node: node, trusted: trusted}
	err := node.Do(func() error {
		a.agentProcess = startAgent(t, "--identity-file", node.IdentityFile, "--web.config.file", webConfig)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	scheme := "http"
	if webConfig != "" {
		scheme = "https"
	}
	_, address := a.address("metrics")
	a.url = scheme + "://" + address + "/metrics"
	a.await("load", func() bool {
		series, err := a.metrics()
		return err == nil && sum(series, "tracer_packets_total") > 1000
	})
	a.await("the first scrape", func() bool { return a.well(&a.first) })
	return a
}

// suffers lets clients do so for a while, and tells what exceeds the bounds.
func (a *abused) suffers(c abuse) (wrong string) {
	a.t.Helper()
	var before, after taken
	a.await("metrics", func() bool { return a.well(&before) })
	began, spent := time.Now(), a.cpu()
	end := a.begin(c)
	var slowest time.Duration
	most := 0.0
	for begun := time.Now(); time.Since(begun) < 5*time.Second; {
		asked := time.Now()
		if code, body, err := a.ask("health", "/healthz"); err != nil || code != http.StatusOK {
			wrong = fmt.Sprintf("%s: health answers %d %s, %v", c.what, code, body, err)
		}
		slowest = max(slowest, time.Since(asked))
		most = max(most, a.resident())
		time.Sleep(50 * time.Millisecond)
	}
	cores := (a.cpu() - spent).Seconds() / time.Since(began).Seconds()
	end()
	a.await("all to be well, and no more descriptors and goroutines than at first", func() bool {
		const more = 16 // that come and go by themselves
		return a.well(&after) && after.descriptors <= a.first.descriptors+more && after.goroutines <= a.first.goroutines+more
	})
	if c.clients == 0 {
		a.alone = cores
	}
	a.t.Logf("| %s | %d | %.0f, %.0f, %.0f | %.2f | %v |", c.what, c.clients, before.resident, most, after.resident, cores, slowest.Round(time.Millisecond))
	switch took := most - a.first.resident; {
	case took > mostMiB:
		return fmt.Sprintf("%s: %.0f MiB of memory are taken, of at most %d", c.what, took, mostMiB)
	case after.lost > before.lost:
		return fmt.Sprintf("%s: %.0f records are lost", c.what, after.lost-before.lost)
	case cores-a.alone > mostCores:
		return fmt.Sprintf("%s: %.2f cores are taken, %.2f without clients", c.what, cores, a.alone)
	case slowest > mostHealth:
		return fmt.Sprintf("%s: health was answered after %v", c.what, slowest)
	}
	return wrong
}

// begin has the clients begin. They end by the function that it returns.
func (a *abused) begin(c abuse) (end func()) {
	a.t.Helper()
	if c.ask != nil {
		ctx, cancel := context.WithCancel(a.t.Context())
		var clients sync.WaitGroup
		for range c.clients {
			clients.Go(func() { a.keepAsking(ctx, *c.ask) })
		}
		return func() { cancel(); clients.Wait() }
	}
	var conns []net.Conn
	for server := range strings.FieldsSeq(c.servers) {
		for range c.clients {
			var conn net.Conn
			err := a.node.Do(func() (err error) {
				conn, err = a.dial(server)
				return err
			})
			if err != nil {
				a.t.Fatal(err)
			}
			conns = append(conns, conn)
			_ = conn.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, _ = io.WriteString(conn, c.request)
		}
	}
	return func() {
		for _, conn := range conns {
			conn.Close()
		}
	}
}

// client asks for metrics.
func (a *abused) client(how asking) *http.Client {
	config := a.trusted
	if how.distrust {
		config = nil
	}
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: config, DisableKeepAlives: how.again,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			err = a.node.Do(func() (err error) {
				conn, err = new(net.Dialer).DialContext(ctx, network, address)
				return err
			})
			return conn, err
		},
	}}
}

// keepAsking asks, and lets the answers be, until ctx ends.
func (a *abused) keepAsking(ctx context.Context, how asking) {
	client := a.client(how)
	defer client.CloseIdleConnections()
	for ctx.Err() == nil {
		if response, err := a.request(ctx, client, how.password); err == nil {
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
		time.Sleep(how.pause)
	}
}

func (a *abused) request(ctx context.Context, client *http.Client, password string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.url, nil)
	if err != nil {
		return nil, err
	}
	if password != "" {
		request.SetBasicAuth("prometheus", password)
	}
	return client.Do(request)
}

// metrics reads what the agent says of itself.
func (a *abused) metrics() ([]scrape.Sample, error) {
	response, err := a.request(a.t.Context(), a.client(asking{again: true}), password)
	if err != nil {
		return nil, err
	}
	return scrape.Parse(response)
}

// well tells whether all that the agent serves is answered, and what it has taken then.
func (a *abused) well(now *taken) bool {
	for server, path := range map[string]string{"health": "/healthz", "socket": "/v1/status"} {
		if code, _, err := a.ask(server, path); err != nil || code != http.StatusOK {
			return false
		}
	}
	series, err := a.metrics()
	*now = taken{
		resident: a.resident(), lost: sum(series, "tracer_records_lost_total"),
		descriptors: sum(series, "process_open_fds"), goroutines: sum(series, "go_goroutines"),
	}
	return err == nil
}

// ask asks once, on the node.
func (a *abused) ask(server, path string) (code int, body string, err error) {
	failed := a.node.Do(func() error {
		code, body, err = a.get(server, path)
		return nil
	})
	return code, body, errors.Join(err, failed)
}

// cpu is the time that the agent has used of all CPUs.
func (a *abused) cpu() time.Duration {
	a.t.Helper()
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^a.Process.Pid<<3|2), &used); err != nil { // clock_getcpuclockid(3)
		a.t.Fatal(err)
	}
	return time.Duration(used.Nano())
}

// resident is what the agent has in memory, in MiB.
func (a *abused) resident() float64 {
	a.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.Process.Pid))
	if err != nil {
		a.t.Fatal(err)
	}
	var kib float64
	for line := range strings.Lines(string(status)) {
		_, _ = fmt.Sscanf(line, "VmRSS: %f kB", &kib)
	}
	return kib / 1024
}

// sum adds up a metric's series.
func sum(series []scrape.Sample, name string) (sum float64) {
	for _, one := range series {
		if one.Name == name {
			sum += one.Value
		}
	}
	return sum
}
