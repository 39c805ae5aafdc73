package identity

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

// TestTokenFile: a request has the token of the file that the config names, which client-go reads again when it is a
// minute old.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	var got string
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
	defer server.Close()
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := write("token", "first\n")
	config, err := LoadConfig(write("kubeconfig", fmt.Sprintf(`{apiVersion: v1, kind: Config, clusters: [{name: b, cluster: {server: %q, insecure-skip-tls-verify: true}}],
users: [{name: c, user: {tokenFile: token}}], contexts: [{name: a, context: {cluster: b, user: c}}], current-context: a}`, server.URL)))
	if err != nil {
		t.Fatal(err)
	}
	if config.BearerTokenFile != token {
		t.Errorf("the token file is %q", config.BearerTokenFile)
	}
	for _, want := range []string{"first", "second"} {
		write("token", want)
		client, err := httpClient(config, responseTimeout) // a new one holds no copy of the token
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if got != "Bearer "+want {
			t.Errorf("the request has %q, want the token %q", got, want)
		}
	}
}
