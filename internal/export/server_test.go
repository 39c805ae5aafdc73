package export

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func newMetricsServer(source *fakeSource, webConfig string) (*Server, error) {
	return NewMetricsServer(MetricsOptions{
		Address: "127.0.0.1:0", WebConfig: webConfig, Collector: newTestCollector(source), Version: "v1.2.3", Log: quiet(),
	})
}

func get(t testing.TB, client *http.Client, url string, change ...func(*http.Request)) (code int, body string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(request)
	}
	request.Close = true // leaves no goroutine behind
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

func TestMetricsServer(t *testing.T) {
	t.Parallel()
	server, err := newMetricsServer(newSource(), "")
	start(t, server, err)
	base := "http://" + server.Addr().String()
	if code, body := get(t, http.DefaultClient, base+"/metrics"); code != http.StatusOK || !strings.Contains(body, "\ntracer_sample_ratio 0.25\n") {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	if code, body := get(t, http.DefaultClient, base+"/"); code != http.StatusOK || !strings.Contains(body, "v1.2.3") || strings.Contains(body, "debug/pprof") {
		t.Errorf("/: %d\n%s", code, body)
	}
	if code, _ := get(t, http.DefaultClient, base+"/v1/snapshot"); code != http.StatusNotFound {
		t.Errorf("flow data on the network: %d", code)
	}
}

func TestMetricsServerWithTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := writeCertificate(t, dir)
	// The hash is of "secret".
	config := filepath.Join(dir, "web.yaml")
	err := os.WriteFile(config, []byte("tls_server_config:\n  cert_file: cert.pem\n  key_file: key.pem\n"+
		"basic_auth_users:\n  prometheus: $2a$04$gERpG7Wn1A0/2mRRx1gfMuZcXwYKNDn2/UJvudQFwzji1wPXs2WPy\n"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	server, err := newMetricsServer(newSource(), config)
	start(t, server, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	url := "https://" + server.Addr().String() + "/metrics"
	if code, _ := get(t, client, url); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	code, body := get(t, client, url, func(r *http.Request) { r.SetBasicAuth("prometheus", "secret") })
	if code != http.StatusOK || !strings.Contains(body, "tracer_build_info") {
		t.Errorf("with it: %d\n%s", code, body)
	}
	if code, _ := get(t, http.DefaultClient, "http://"+server.Addr().String()+"/metrics"); code == http.StatusOK {
		t.Error("metrics without TLS")
	}
}

// writeCertificate makes one for 127.0.0.1.
func writeCertificate(t testing.TB, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "EC PRIVATE KEY", Bytes: secret},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(certificate)
	return pool
}

func TestBadWebConfig(t *testing.T) {
	t.Parallel()
	config := filepath.Join(t.TempDir(), "web.yaml")
	for content, want := range map[string]string{
		"":                                     "no such file",
		"tls: {}":                              "field tls not found",
		"tls_server_config: {cert_file: none}": "key",
	} {
		if content != "" {
			if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			os.Remove(config)
		}
		_, err := newMetricsServer(newSource(), config)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), config) {
			t.Errorf("%q: %v", content, err)
		}
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	source := newSource()
	server, err := NewHealthServer(HealthOptions{Address: "127.0.0.1:0", Status: source.Status, Now: func() time.Time { return noon }, Log: quiet()})
	start(t, server, err)
	for _, test := range []struct {
		path   string
		age    time.Duration
		hooked bool
		code   int
		body   string
	}{
		{"/healthz", 0, false, http.StatusOK, "ok\n"},
		{"/healthz", alive, false, http.StatusOK, "ok\n"},
		{"/healthz", alive + time.Second, true, http.StatusServiceUnavailable, "the reader of records has stood still for 31s\n"},
		{"/readyz", time.Hour, true, http.StatusOK, "ok\n"},
		{"/readyz", 0, false, http.StatusServiceUnavailable, "no overlay or uplink is hooked; tracer check tells why\n"},
		{"/", 0, true, http.StatusNotFound, "404 page not found\n"},
	} {
		source.set(func(s *fakeSource) { s.status.LastRead, s.status.Hooked = noon.Add(-test.age), test.hooked })
		if code, body := get(t, http.DefaultClient, "http://"+server.Addr().String()+test.path); code != test.code || body != test.body {
			t.Errorf("%+v: %d %q", test, code, body)
		}
	}
}

func TestAddressTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	_, err = NewMetricsServer(MetricsOptions{Address: address, Collector: newTestCollector(newSource()), Log: quiet()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "serve metrics: ") ||
		!strings.Contains(err.Error(), "choose another address") {
		t.Errorf("metrics: %v", err)
	}
	if _, err := NewHealthServer(HealthOptions{Address: address}); !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "serve health: ") {
		t.Errorf("health: %v", err)
	}
	if _, err := NewHealthServer(HealthOptions{Address: "192.0.2.1:1"}); !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "ip address") {
		t.Errorf("not ours: %v", err)
	}
	if _, err := NewHealthServer(HealthOptions{Address: "9436"}); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("no port: %v", err)
	}
}

func TestServerEnds(t *testing.T) {
	t.Parallel()
	// A context that ended before the start.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		server, err := newMetricsServer(newSource(), "")
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := net.Dial("tcp", server.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("the port is not free: %v", err)
		}
	}
	// One that never serves.
	server, err := newMetricsServer(newSource(), "")
	if err != nil {
		t.Fatal(err)
	}
	server.Close()
	if _, err := net.Dial("tcp", server.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("the port is not free: %v", err)
	}
	// One whose listener fails.
	if server, err = newMetricsServer(newSource(), ""); err != nil {
		t.Fatal(err)
	}
	server.listener.Close()
	if err := server.Serve(context.Background()); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(fmt.Sprint(err), "serve metrics: ") {
		t.Errorf("broken listener: %v", err)
	}
}
