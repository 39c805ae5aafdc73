package cni

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"tracer/test/k8srig"
)

// readme runs what the README says, as it stands there, but for the registry and the version.
type readme struct {
	dir, kubeconfig string
}

// block is the code of the README's block that has a text.
func block(t *testing.T, text string) string {
	t.Helper()
	page, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "```")
	for i := 1; i < len(parts); i += 2 {
		if strings.Contains(parts[i], text) {
			return strings.TrimSpace(parts[i])
		}
	}
	t.Fatalf("the README has no %q", text)
	return ""
}

var (
	// published is the registry that the README names.
	published = regexp.MustCompile(`oci://(\S+)/charts/tracer`)
	// versions are those of releases, as charts and as images have them.
	versions = regexp.MustCompile(`\b(v?)\d+\.\d+\.\d+(-rc\.\d+)?\b`)
)

// replace puts in where a release is, and its version.
func (*readme) replace(t *testing.T, commands string, r release) string {
	t.Helper()
	registry := published.FindStringSubmatch(block(t, "helm install"))
	if registry == nil || !strings.Contains(commands, registry[1]) || !versions.MatchString(commands) {
		t.Fatalf("the README's registry is %q; there is no such registry, or no version, in\n%s", registry, commands)
	}
	commands = versions.ReplaceAllString(commands, "${1}"+r.number())
	return strings.ReplaceAll(commands, registry[1], k8srig.Registry)
}

// run runs the commands in a terminal, with the rig's kubectl and helm; that the registry has no TLS is all that they are told besides.
func (r *readme) run(t *testing.T, commands string) string {
	t.Helper()
	tools, err := k8srig.Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for name, script := range map[string]string{
		"kubectl": `exec "$TOOLS" kubectl "$@"`,
		"helm":    `case $1 in install) set -- "$@" --plain-http ;; esac; exec "$TOOLS" helm "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(r.dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(r.dir, "commands"), []byte(commands+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "script", "--quiet", "--return", "--command", "stty columns 100 && bash -eu commands", "/dev/null")
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "PATH="+r.dir+":"+os.Getenv("PATH"), "TOOLS="+tools.Kubernetes, "KUBECONFIG="+r.kubeconfig,
		"HELM_CACHE_HOME="+r.dir, "HELM_CONFIG_HOME="+r.dir, "HELM_DATA_HOME="+r.dir, "SHELL=/bin/sh", "TERM=xterm")
	keys, err := cmd.StdinPipe() // nobody types, but somebody could
	if err != nil {
		t.Fatal(err)
	}
	defer keys.Close()
	out, err := cmd.CombinedOutput()
	if err != nil && (strings.Contains(string(out), "HEALTHY") || !right(string(out))) { // which has an exit code of its own where something is found
		t.Fatalf("%s: %v\n%s", commands, err, out)
	}
	t.Logf("%s\n%s", commands, out)
	return string(out)
}
