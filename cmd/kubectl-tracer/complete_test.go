package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
)

// kubeconfigOf leads a command line to a server.
func kubeconfigOf(t *testing.T, s *agentstest.Server) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kubeconfig")
	text := `apiVersion: v1
kind: Config
clusters: [{name: here, cluster: {server: "` + s.Config().Host + `"}}]
users: [{name: me, user: {}}]
contexts: [{name: first, context: {cluster: here, user: me, namespace: shop}}, {name: second, context: {cluster: here, user: me}}]
current-context: first
`
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// complete is what a shell is told, less the directive.
func complete(t *testing.T, kubeconfig string, args ...string) []string {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(new(bytes.Buffer))
	root.SetArgs(argsOf(append([]string{"/usr/local/bin/kubectl_complete-tracer", "--kubeconfig", kubeconfig}, args...)))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	return lines[:len(lines)-1]
}

func TestComplete(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t, "node-a", "node-b")
	controller := true
	web := pod("web-7d9-aaaaa", "node-a", "10.244.1.2")
	web.Labels = map[string]string{"pod-template-hash": "7d9"}
	web.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-7d9", Controller: &controller}}
	done := pod("old", "node-a", "10.244.1.9")
	done.Status.Phase = corev1.PodSucceeded
	pods := &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{web, pod("worker", "node-b", "10.244.2.2"), done}}
	s.Objects = map[string]any{
		"/api/v1/namespaces/shop/pods": pods,
		"/api/v1/namespaces/shop/services": &corev1.ServiceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceList"}, Items: []corev1.Service{
			{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "front"}},
		}},
		"/api/v1/nodes": &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, Items: []corev1.Node{
			{ObjectMeta: metav1.ObjectMeta{Name: "node-a"}}, {ObjectMeta: metav1.ObjectMeta{Name: "node-b"}},
		}},
		"/api/v1/namespaces": &corev1.NamespaceList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NamespaceList"}, Items: []corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, {ObjectMeta: metav1.ObjectMeta{Name: "tracer"}},
		}},
	}
	kubeconfig := kubeconfigOf(t, s)
	for line, want := range map[string]string{
		"path ":                       "deploy/ ds/ job/ node/ pod/ sts/ svc/ web worker",
		"path w":                      "web worker",
		"path d":                      "deploy/ ds/",
		"path deploy/":                "deploy/web",
		"path pod/w":                  "pod/web-7d9-aaaaa pod/worker",
		"trace web svc/":              "svc/front",
		"path web no/node-":           "no/node-a no/node-b",
		"path web worker ":            "",
		"path configmap/":             "",
		"diagnose --nodes ":           "node-a node-b",
		"diagnose --nodes node-a,":    "node-a,node-b",
		"top --nodes=node-b":          "--nodes=node-b",
		"nodes --context ":            "first second",
		"nodes -n ":                   "shop tracer",
		"nodes --tracer-namespace tr": "tracer",
		"trace --way ":                "there back",
		"top -o ":                     "table json",
		"diagnose -o ":                "text json",
		"top --by ":                   "pair service flow device",
	} {
		got := complete(t, kubeconfig, strings.Split(line, " ")...)
		if strings.Contains(want, "--nodes=") { // some shells ask in one word
			for i := range got {
				got[i] = "--nodes=" + strings.TrimPrefix(got[i], "--nodes=")
			}
		}
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("%q: %q, want %q", line, got, want)
		}
	}
}

// TestCompleteAsPlugin is run by its own name: its arguments stay as they are.
func TestCompleteAsPlugin(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"kubectl-tracer": "path we", "/bin/kubectl_complete-tracer": "__complete path we", `kubectl_complete-tracer.exe`: "__complete path we",
	} {
		if got := strings.Join(argsOf([]string{name, "path", "we"}), " "); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
