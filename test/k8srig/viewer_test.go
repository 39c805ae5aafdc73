package k8srig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/remotecommand"
)

// developer is an account that has the chart's Role on the viewers' pods, and no other right.
const developer = `
apiVersion: v1
kind: Namespace
metadata: {name: developers}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: developer, namespace: developers}
`

// withViewers are the chart's values that have developers ask through pods without rights.
var withViewers = []string{"--set-json", `viewer={"enabled":true,"subjects":[{"kind":"ServiceAccount","name":"developer","namespace":"developers"}]}`}

// viewed checks what a developer can do, and cannot, where the chart's viewers are.
func viewed(t *testing.T, c *ControlPlane, nodes []*Node) {
	t.Helper()
	if _, err := c.KubectlInput(developer, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl("-n", "tracer-viewer", "rollout", "status", "daemonset/tracer-viewer", "--timeout=300s"); err != nil {
		t.Fatal(err)
	}
	token, err := c.Kubectl("create", "token", "developer", "-n", "developers")
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte(Kubeconfig(c.Server(), c.CA(), strings.TrimSpace(token))), 0o600); err != nil {
		t.Fatal(err)
	}
	plugin, err := Plugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	kubectl := func(args ...string) (string, error) {
		return output(exec.CommandContext(t.Context(), c.tools.Kubernetes, append([]string{"kubectl", "--kubeconfig", kubeconfig}, args...)...))
	}

	// Both nodes answer.
	var r clusterReport
	err = Await(t.Context(), time.Minute, "diagnose as a developer", []*Process{nodes[0].Process, nodes[1].Process}, func() error {
		out, err := output(exec.CommandContext(t.Context(), plugin, "diagnose", "-o", "json", "--duration", "1s", "--kubeconfig", kubeconfig))
		if r = (clusterReport{}); json.Unmarshal([]byte(out), &r) != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		for _, n := range r.Nodes {
			if n.Error != "" {
				return fmt.Errorf("%s: %s", n.Name, n.Error)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Nodes) != 2 {
		t.Errorf("a developer's diagnose has the nodes %+v, want two", r.Nodes)
	}
	t.Logf("as a developer: %s", r.Summary)

	// What the agents' own socket does for root is not for viewers.
	pods, err := c.Kubectl("-n", "tracer-viewer", "get", "pods", "-o", "name", "-l", "app.kubernetes.io/name=tracer-viewer")
	if err != nil {
		t.Fatal(err)
	}
	viewer, _, _ := strings.Cut(strings.TrimSpace(pods), "\n")
	viewer = strings.TrimPrefix(viewer, "pod/")
	for request, want := range map[string]string{
		"GET /v1/status":             "200 OK",
		"POST /v1/status":            "403 Forbidden",
		"PUT /v1/baseline":           "403 Forbidden",
		"DELETE /v1/findings":        "403 Forbidden",
		"GET /v1/incidents":          "403 Forbidden",
		"GET /v1/trace?headers=true": "403 Forbidden",
	} {
		out, err := enter(t, kubeconfig, "tracer-viewer", viewer, "viewer", request+" HTTP/1.1\r\nHost: agent\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
			"/tracer", "connect", "--socket", "/run/tracer-viewer/agent.sock")
		if status, _, _ := strings.Cut(out, "\r\n"); status != "HTTP/1.1 "+want {
			t.Errorf("%s is answered %q (%v), want %s", request, status, err, want)
		}
	}

	// kubectl alone does too.
	if out, err := kubectl("-n", "tracer-viewer", "exec", "ds/tracer-viewer", "--", "/tracer", "version"); err != nil {
		t.Errorf("as the help of tracer connect says: %v: %s", err, out)
	}

	// The pods that it may enter do not see the agent's own socket.
	if out, err := enter(t, kubeconfig, "tracer-viewer", viewer, "viewer", "", "/tracer", "connect"); err == nil || strings.Contains(err.Error(), "forbidden") {
		t.Errorf("want no socket in a viewer's pod: %v: %s", err, out)
	}

	// And elsewhere it may do nothing.
	agent, err := c.Kubectl("-n", "tracer", "get", "pods", "-o", "name", "-l", "app.kubernetes.io/name=tracer")
	if err != nil {
		t.Fatal(err)
	}
	agent, _, _ = strings.Cut(strings.TrimSpace(agent), "\n")
	agent = strings.TrimPrefix(agent, "pod/")
	if out, err := enter(t, kubeconfig, "tracer", agent, "agent", "", "/tracer", "connect"); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("want it forbidden to enter the agent's pod: %v: %s", err, out)
	}
	for _, refused := range [][]string{
		{"-n", "tracer", "get", "pods"},
		{"-n", "tracer-viewer", "delete", "pod", viewer},
		{"-n", "tracer-viewer", "debug", viewer, "--image=docker.io/library/k8srig:dev", "--image-pull-policy=Never"},
		{"-n", "tracer-viewer", "run", "mine", "--image=docker.io/library/k8srig:dev"},
		{"get", "nodes"},
		{"-n", "tracer-viewer", "get", "secrets"},
	} {
		if out, err := kubectl(refused...); err == nil || !strings.Contains(strings.ToLower(err.Error()+out), "forbidden") {
			t.Errorf("kubectl %v: want it forbidden: %v: %s", refused, err, out)
		}
	}
}

// enter runs a command in a pod as kubectl tracer does, which asks for nothing but that. What is written to it is not the end of its
// standard input: it ends by itself.
func enter(t *testing.T, kubeconfig, namespace, pod, container, input string, command ...string) (string, error) {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	request := client.CoreV1().RESTClient().Get().Namespace(namespace).Resource("pods").Name(pod).SubResource("exec").VersionedParams(&corev1.PodExecOptions{
		Container: container, Command: command, Stdin: true, Stdout: true, Stderr: true,
	}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(config, "GET", request.URL().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	stdin, to := io.Pipe()
	defer to.Close()
	go func() { _, _ = io.WriteString(to, input) }() // it ends before if nobody reads
	var out, complaint bytes.Buffer
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{Stdin: stdin, Stdout: &out, Stderr: &complaint})
	if err != nil {
		err = fmt.Errorf("%w: %s", err, complaint.String())
	}
	return out.String(), err
}
