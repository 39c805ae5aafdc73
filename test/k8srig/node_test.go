package k8srig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"golang.org/x/sys/unix"
)

// shop is a Deployment on node-a that calls a Service with backends on both nodes. The Service's name is not that of
// its Deployment: where only the Service is known, that is what pods elsewhere are called.
const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: store}
---
apiVersion: v1
kind: Service
metadata: {name: api-service, namespace: store}
spec: {selector: {app: api}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: store}
spec:
  replicas: 2
  selector: {matchLabels: {app: api}}
  template:
    metadata: {labels: {app: api}}
    spec:
      terminationGracePeriodSeconds: 0
      topologySpreadConstraints:
        - {maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {app: api}}}
      containers:
        - name: api
          image: docker.io/library/k8srig:dev
          imagePullPolicy: Never
          args: [serve, ":8080"]
          readinessProbe: {tcpSocket: {port: 8080}, periodSeconds: 1, timeoutSeconds: 10}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: store}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      nodeSelector: {kubernetes.io/hostname: node-a}
      containers:
        - name: web
          image: docker.io/library/k8srig:dev
          imagePullPolicy: Never
          args: [call, "http://$(API_SERVICE_SERVICE_HOST)/"]
`

// TestNodes applies the shipped manifests to two real nodes.
func TestNodes(t *testing.T) {
	ctx := t.Context()
	images, err := Images(ctx, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"node-a", "node-b"}
	c, err := StartControlPlane(ctx, ControlPlaneOptions{Tools: tools(t), Dir: t.TempDir(), Address: Fabric, Nodes: names})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Stop)
	if err := c.StartControllers(); err != nil {
		t.Fatal(err)
	}
	var nodes []*Node
	for i, name := range names {
		n, err := StartNode(ctx, c, name, i+1, len(names), Network{}, images)
		if n != nil && n.Process != nil {
			t.Cleanup(n.Kill)
		}
		if err != nil {
			if n != nil {
				t.Log(n.Logs())
			}
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	t.Cleanup(func() {
		if t.Failed() {
			events, _ := c.Kubectl("get", "events", "-A", "--sort-by=.lastTimestamp")
			pods, _ := c.Kubectl("get", "pods", "-A", "-o", "wide")
			agents, _ := c.Kubectl("-n", "tracer", "logs", "-l", "app.kubernetes.io/name=tracer", "--prefix")
			t.Log(events, "\n", pods, "\n", agents, "\n", nodes[0].Logs(), nodes[1].Logs())
		}
	})

	// First with nothing installed, then with the capabilities alone that are needed and pods for viewers, then as it is shipped, with Events.
	ephemeral(t, c, nodes)
	hardened(t, c, nodes)
	viewed(t, c, nodes)
	for _, yaml := range []string{render(t, "--set", "events.enabled=true"), shop} {
		if _, err := c.KubectlInput(yaml, "apply", "-f", "-"); err != nil {
			t.Fatal(err)
		}
	}
	for _, rollout := range []string{"-n tracer rollout status daemonset/tracer", "-n store rollout status deployment/api", "-n store rollout status deployment/web"} {
		if _, err := c.Kubectl(append(strings.Fields(rollout), "--timeout=300s")...); err != nil {
			t.Fatal(err)
		}
	}

	a, b := nodes[0], nodes[1]
	// Both Deployments by name, and for the backend elsewhere the Service's.
	expect(t, a, "name the pairs", 60*time.Second, func(m map[string]*dto.MetricFamily) error {
		for _, dst := range []string{"api", "api-service"} {
			labels := []string{"src_namespace", "store", "src_workload", "web", "dst_namespace", "store", "dst_workload", dst}
			if value(m, "tracer_packets_total", labels...) == 0 {
				return fmt.Errorf("no packets from web to %s", dst)
			}
		}
		return nil
	})

	tellsPath(t, c)

	// Nothing gets through the overlay any more: what a packet needs is more than the queue ever takes.
	if err := a.Run("tc", "qdisc", "add", "dev", "flannel.1", "root", "tbf", "rate", "8bit", "burst", "1", "limit", "1"); err != nil {
		t.Fatal(err)
	}
	broken := time.Now()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	err = Await(ctx, 10*time.Second, "answer the other node's scrape within a second", []*Process{a.Process}, func() error {
		begin := time.Now()
		out, err := output(b.Command(self, "get", "http://"+a.Address+":9435/metrics"))
		if took := time.Since(begin); err == nil && (took > time.Second || !strings.Contains(out, "tracer_build_info")) {
			err = fmt.Errorf("it took %v and is\n%s", took, out)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	expect(t, a, "find the fault", 30*time.Second-time.Since(broken), func(m map[string]*dto.MetricFamily) error {
		if value(m, "tracer_finding", "device", "flannel.1", "severity", "critical") == 0 {
			return fmt.Errorf("findings: %v", m["tracer_finding"])
		}
		return nil
	})
	t.Logf("the fault was found after %v", time.Since(broken).Round(time.Second))
	err = Await(ctx, time.Minute, "tell of the fault at its node", []*Process{a.Process}, func() error {
		said, err := c.Kubectl("describe", "node", "node-a")
		if err == nil && !eventOfFault.MatchString(said) {
			err = errors.New(said)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	pod, err := c.Kubectl("-n", "tracer", "get", "pod", "-o", "name", "-l", "app.kubernetes.io/name=tracer", "--field-selector", "spec.nodeName=node-a")
	if err != nil {
		t.Fatal(err)
	}
	report, err := c.Kubectl("-n", "tracer", "exec", strings.TrimSpace(pod), "--", "/tracer", "diagnose")
	if err == nil || !strings.Contains(err.Error(), "exit code 2") && !strings.Contains(err.Error(), "exit status 2") {
		t.Errorf("diagnose: %v", err)
	}
	if !strings.Contains(report, "FAULT: ") || !strings.Contains(report, "flannel.1") {
		t.Errorf("diagnose says\n%s", report)
	}
	t.Log(report)
	asksAll(t, c)
	tellsSlowPath(t, c, a)
}

// eventOfFault is how kubectl shows the Event of a finding at the overlay.
var eventOfFault = regexp.MustCompile(`(?m)^ +Warning .* tracer-agent .*flannel\.1.*\(tracer explain [a-z-]+\)`)

// hardened applies the profile without privileges, and checks that nothing is missing.
func hardened(t *testing.T, c *ControlPlane, nodes []*Node) {
	t.Helper()
	args := append([]string{"-f", chartDir + "/values-hardened.yaml"}, withViewers...)
	if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, unix.CAP_SYS_RESOURCE, 0, 0, 0); err != nil {
		t.Fatal(err)
	} else if has == 0 { // what we have not, nobody here may have; and kernels since 5.11 do not ask for it
		args = append(args, "--set", "securityContext.capabilities.add={BPF,PERFMON,NET_ADMIN,SYSLOG}")
	}
	if _, err := c.KubectlInput(render(t, args...), "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Kubectl("-n", "tracer", "rollout", "status", "daemonset/tracer", "--timeout=300s"); err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		expect(t, n, "attach without privileges", 2*time.Minute, func(m map[string]*dto.MetricFamily) error {
			if value(m, "tracer_identity_synced") != 3 {
				return errNotYet
			}
			for _, h := range m["tracer_hook_up"].GetMetric() {
				if h.GetGauge().GetValue() != 1 {
					return fmt.Errorf("a hook is down: %v", h)
				}
			}
			return nil
		})
	}
}

// expect waits until a node's metrics are as wanted.
func expect(t *testing.T, n *Node, what string, limit time.Duration, done func(map[string]*dto.MetricFamily) error) {
	t.Helper()
	err := Await(t.Context(), limit, what, []*Process{n.Process}, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		m, err := scrape(ctx, n.Address)
		if err != nil {
			return err
		}
		return done(m)
	})
	if err != nil {
		t.Fatal(err)
	}
}
