package metrics

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tracer/internal/export/exporttest"
	"tracer/internal/export/httpserver"
)

func newServer(source *fakeSource, webConfig string) (*httpserver.Server, error) {
	return NewServer(ServerOptions{
		Address: "127.0.0.1:0", WebConfig: webConfig, Collector: newTestCollector(source), Version: "v1.2.3", Log: quiet(),
	})
}

func TestServer(t *testing.T) {
	t.Parallel()
	server, err := newServer(newSource(), "")
	exporttest.Start(t, server, err)
	base := "http://" + server.Addr().String()
	if code, body := exporttest.Get(t, http.DefaultClient, base+"/metrics"); code != http.StatusOK || !strings.Contains(body, "\ntracer_sample_ratio 0.25\n") {
		t.Errorf("/metrics: %d\n%s", code, body)
	}
	for _, own := range []string{"process_resident_memory_bytes", "process_open_fds", "process_cpu_seconds_total", "go_goroutines", "go_gc_heap_live_bytes"} {
		if _, body := exporttest.Get(t, http.DefaultClient, base+"/metrics"); !strings.Contains(body, "\n"+own+" ") {
			t.Errorf("/metrics has no %s", own)
		}
	}
	if code, body := exporttest.Get(t, http.DefaultClient, base+"/"); code != http.StatusOK || !strings.Contains(body, "v1.2.3") || strings.Contains(body, "debug/pprof") {
		t.Errorf("/: %d\n%s", code, body)
	}
	if code, _ := exporttest.Get(t, http.DefaultClient, base+"/v1/snapshot"); code != http.StatusNotFound {
		t.Errorf("flow data on the network: %d", code)
	}
}

func TestServerWithTLS(t *testing.T) {
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
	server, err := newServer(newSource(), config)
	exporttest.Start(t, server, err)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	url := "https://" + server.Addr().String() + "/metrics"
	if code, _ := exporttest.Get(t, client, url); code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", code)
	}
	code, body := exporttest.Get(t, client, url, func(r *http.Request) { r.SetBasicAuth("prometheus", "secret") })
	if code != http.StatusOK || !strings.Contains(body, "tracer_build_info") {
		t.Errorf("with it: %d\n%s", code, body)
	}
	if code, _ := exporttest.Get(t, http.DefaultClient, "http://"+server.Addr().String()+"/metrics"); code == http.StatusOK {
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
		_, err := newServer(newSource(), config)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), config) {
			t.Errorf("%q: %v", content, err)
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
	_, err = NewServer(ServerOptions{Address: taken.Addr().String(), Collector: newTestCollector(newSource()), Log: quiet()})
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), "serve metrics: ") {
		t.Errorf("%v", err)
	}
}

// TestServerEnds ends servers by a context that ended before their start.
func TestServerEnds(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		server, err := newServer(newSource(), "")
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
}
