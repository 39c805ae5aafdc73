package identity

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLoadConfig(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for name, test := range map[string]struct{ path, want string }{
		"missing": {filepath.Join(dir, "none"), "give a readable one with --kubeconfig"},
		"garbage": {write("garbage", "{"), "read kubeconfig"},
		"empty":   {write("empty", ""), "it needs a current context"},
		"no cluster": {write("half", `{apiVersion: v1, kind: Config, contexts: [{name: a, context: {cluster: b, user: c}}], current-context: a}`),
			"it needs a current context"},
	} {
		if _, err := LoadConfig(test.path); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	write("ca.crt", "a certificate")
	good := write("good", `{apiVersion: v1, kind: Config, clusters: [{name: b, cluster: {server: "https://10.0.0.1:6443", certificate-authority: ca.crt}}],
users: [{name: c, user: {token: t}}], contexts: [{name: a, context: {cluster: b, user: c}}], current-context: a}`)
	config, err := LoadConfig(good)
	if err != nil || config.Host != "https://10.0.0.1:6443" || config.CAFile != filepath.Join(dir, "ca.crt") {
		t.Errorf("%+v, %v", config, err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := LoadConfig(""); !errors.Is(err, ErrNoCluster) {
		t.Errorf("no cluster: %v", err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	t.Setenv("KUBERNETES_SERVICE_PORT", "443")
	_, none := os.Stat("/var/run/secrets/kubernetes.io/serviceaccount/token") // there is one where the tests run in a pod
	if _, err := LoadConfig(""); errors.Is(err, ErrNoToken) != (none != nil) {
		t.Errorf("without a token, %v: %v", none != nil, err)
	}
}
