package k8srig

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spared takes a capability out of pods before they are made: this machine's root may not have it, and so nobody here may. Kernels since
// 5.11 do not ask for it.
const spared = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: no-sys-resource}
spec:
  failurePolicy: Fail
  reinvocationPolicy: Never
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE], resources: [pods]}]
  matchConditions:
    - name: asks
      expression: "'SYS_RESOURCE' in object.spec.containers[0].?securityContext.?capabilities.?add.orValue([])"
  mutations:
    - patchType: JSONPatch
      jsonPatch:
        expression: >-
          [JSONPatch{op: "replace", path: "/spec/containers/0/securityContext/capabilities/add",
          value: object.spec.containers[0].securityContext.capabilities.add.filter(c, c != "SYS_RESOURCE")}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: no-sys-resource}
spec: {policyName: no-sys-resource}
`

// probe asks for what spared takes away.
const probe = `
apiVersion: v1
kind: Pod
metadata: {name: probe, namespace: kube-system}
spec:
  containers: [{name: probe, image: none, securityContext: {capabilities: {add: [SYS_RESOURCE]}}}]
`

// spare applies it where it is needed, and waits until it holds.
func spare(t *testing.T, c *ControlPlane) {
	t.Helper()
	if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		t.Fatal(err)
	} else if has == 1 {
		return
	}
	if _, err := c.KubectlInput(spared, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	err := Await(t.Context(), time.Minute, "take a capability out of pods", []*Process{c.apiserver}, func() error {
		out, err := c.KubectlInput(probe, "create", "--dry-run=server", "-o", "jsonpath={.spec.containers[0].securityContext.capabilities.add}", "-f", "-")
		if err == nil && strings.Contains(out, "SYS_RESOURCE") {
			err = errNotYet
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// leftOver is how long an ephemeral agent lives whose client was killed: the shortest that the client takes.
const leftOver = time.Minute

// ephemeral diagnoses a cluster in which nothing is installed, and kills a client that does: Kubernetes removes what it has left. Both
// happen at the same time, on a node each.
func ephemeral(t *testing.T, c *ControlPlane, nodes []*Node) {
	t.Helper()
	spare(t, c)
	plugin, err := Plugin(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	start := func(node string, args ...string) *exec.Cmd {
		return exec.CommandContext(t.Context(), plugin, append([]string{"diagnose", "--ephemeral", "--image", "docker.io/library/tracer:dev", "--nodes", node,
			"--kubeconfig", c.Kubeconfig(Admin)}, args...)...)
	}
	began := time.Now()
	killed, err := Start("kubectl-tracer", t.TempDir(), start(nodes[1].Name, "--ephemeral-for", leftOver.String(), "--duration", "50s"))
	if err != nil {
		t.Fatal(err)
	}
	processes := []*Process{c.apiserver, nodes[0].Process, nodes[1].Process}
	err = Await(t.Context(), leftOver, "start an ephemeral agent", append(processes, killed), func() error {
		out, err := c.Kubectl("-n", "kube-system", "get", "pods", "-l", "app.kubernetes.io/name=tracer-ephemeral", "-o", "jsonpath={.items[*].status.phase}")
		if err == nil && out != "Running" {
			err = fmt.Errorf("%w: %q", errNotYet, out)
		}
		if err == nil {
			out, err = output(nodes[1].Enter("find", "/run/tracer", "-name", "*.sock")) // it traces
		}
		if err == nil && out == "" {
			err = errNotYet
		}
		return err
	})
	_ = killed.Signal(unix.SIGKILL) // it is an error if it has ended, as Await tells
	if err != nil {
		t.Fatal(err)
	}

	// Meanwhile the other node is asked, and tells; and its agent is gone.
	out, err := output(start(nodes[0].Name, "-o", "json", "--duration", "2s"))
	var r clusterReport
	if jsonErr := json.Unmarshal([]byte(out), &r); jsonErr != nil || len(r.Nodes) != 1 || r.Nodes[0].Name != nodes[0].Name || r.Nodes[0].Error != "" || r.Verdict == "" {
		t.Errorf("with an ephemeral agent: %v: %s", err, out)
	}
	t.Logf("with an ephemeral agent, after %v: %s", time.Since(began).Round(time.Second), r.Summary)

	err = Await(t.Context(), 2*leftOver, "remove what a killed client left", processes, func() error {
		out, err := c.Kubectl("-n", "kube-system", "get", "jobs,pods", "-l", "app.kubernetes.io/name=tracer-ephemeral", "-o", "name")
		if err == nil && strings.TrimSpace(out) != "" {
			err = fmt.Errorf("%w: %s", errNotYet, out)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	t.Logf("what a killed client left was gone %v after it began", took.Round(time.Second))
	for _, n := range nodes {
		out, err := output(n.Enter("find", "/run/tracer", "-mindepth", "1"))
		if err != nil || strings.TrimSpace(out) != "" {
			t.Errorf("%s has files of ephemeral agents: %v: %s", n.Name, err, out)
		}
	}
}
