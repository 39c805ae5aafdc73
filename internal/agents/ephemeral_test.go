package agents

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
)

// started is what agents are started with in tests.
var started = Ephemeral{Image: "registry.example/tracer:v1", Namespace: "kube-system", Lifetime: 10 * time.Minute, Ready: time.Minute}

// threeNodes has an agent on one of three nodes, of which one runs no Linux.
func threeNodes(t *testing.T) *agentstest.Server {
	t.Helper()
	s := agentstest.New(t, "has-one")
	list := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}}
	for name, system := range map[string]string{"has-one": "linux", "bare-a": "linux", "bare-b": "linux", "other": "windows"} {
		list.Items = append(list.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelOSStable: system}}})
	}
	s.Objects = map[string]any{"/api/v1/nodes": list}
	var mu sync.Mutex
	early := map[string]bool{}
	s.Connect = func(node string, c net.Conn) {
		mu.Lock()
		first := !early[node]
		early[node] = true
		mu.Unlock()
		if first && node != "has-one" {
			c.Close() // it does not trace yet
			return
		}
		agentstest.Serve(c, healthy(node, 10))
	}
	return s
}

// TestEphemeral starts agents where there are none, asks all, and leaves nothing.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	s := threeNodes(t)
	c := clusterOf(t, s)
	c.WithEphemeral(started)
	if err := c.Ensure(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if len(s.Jobs) != 2 {
		t.Errorf("%d Jobs, want one on each of two nodes", len(s.Jobs))
	}
	keys := map[string]int{}
	for _, job := range s.Jobs {
		hardened(t, &job)
		for _, e := range job.Spec.Template.Spec.Containers[0].Env {
			if e.Name == "SAMPLING_KEY" {
				keys[e.Value]++
			}
		}
	}
	for key, jobs := range keys {
		if len(key) < 16 || jobs != 2 {
			t.Errorf("%d of 2 agents sample by the key %q", jobs, key)
		}
	}
	if len(keys) != 1 {
		t.Errorf("agents sample by %d keys", len(keys))
	}
	answers := askAll(t.Context(), t, c, long)
	for _, node := range []string{"has-one", "bare-a", "bare-b"} {
		if a := answers[node]; a.Err != nil || a.Value.Node != node || a.Ephemeral == (node == "has-one") {
			t.Errorf("%s: %+v, %v", node, a.Agent, a.Err)
		}
	}
	if err := c.Ensure(t.Context(), []string{"has-one", "bare-a"}); err != nil || len(s.Jobs) != 2 {
		t.Errorf("%d Jobs, %v: once is enough", len(s.Jobs), err)
	}
	if err := c.Close(t.Context()); err != nil || len(s.Jobs) != 0 {
		t.Errorf("%d Jobs are left, %v", len(s.Jobs), err)
	}
}

// hardened checks that a Job has no more rights than the hardened profile, and ends and goes without us.
func hardened(t *testing.T, job *batchv1.Job) {
	t.Helper()
	pod := &job.Spec.Template.Spec
	container := pod.Containers[0].SecurityContext
	if *job.Spec.ActiveDeadlineSeconds != 600 || *pod.ActiveDeadlineSeconds != 600 || *job.Spec.TTLSecondsAfterFinished != 0 || *job.Spec.BackoffLimit != 0 || pod.RestartPolicy != corev1.RestartPolicyNever {
		t.Errorf("it may stay: %+v", job.Spec)
	}
	if !pod.HostNetwork || pod.HostPID || *pod.AutomountServiceAccountToken || *container.Privileged || !*container.ReadOnlyRootFilesystem || len(container.Capabilities.Add) != 5 ||
		len(pod.Volumes) != 1 || pod.Volumes[0].HostPath == nil || pod.Volumes[0].HostPath.Path != "/run/tracer" || *pod.Volumes[0].HostPath.Type != corev1.HostPathDirectoryOrCreate {
		t.Errorf("rights: %+v", pod)
	}
	if pod.Containers[0].TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError || pod.Containers[0].VolumeMounts[0].MountPath != "/run/tracer" {
		t.Errorf("nobody is told why it ends: %+v", pod.Containers[0])
	}
	if pod.Containers[0].Image != started.Image || pod.NodeName == "" {
		t.Errorf("%s on %q", pod.Containers[0].Image, pod.NodeName)
	}
}

// TestEphemeralRefused says why an agent cannot be started, and leaves nothing.
func TestEphemeralRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		set  func(*agentstest.Server, *Ephemeral)
		want string
	}{
		"image": {func(s *agentstest.Server, _ *Ephemeral) { s.Why = "ImagePullBackOff" }, "ImagePullBackOff"},
		"slow":  {func(s *agentstest.Server, e *Ephemeral) { s.Why, e.Ready = "ContainerCreating", 100*time.Millisecond }, "start an agent on bare-a: not ready within 100ms: "},
		"locked": {func(s *agentstest.Server, _ *Ephemeral) {
			s.Ended = "level=INFO msg=starting\ntracer: start: another tracer runs in this network namespace (process 7); stop it\x1b[2J\n"
		}, "start an agent on bare-a: its container has ended: tracer: start: another tracer runs in this network namespace (process 7); stop it�"},
		"gone":   {func(s *agentstest.Server, _ *Ephemeral) { s.Why, s.Lists = "ContainerCreating", 1 }, "its pod is gone; before that: its container waits: ContainerCreating"},
		"policy": {func(s *agentstest.Server, _ *Ephemeral) { s.Forbidden = "/api/v1/namespaces/kube-system/pods" }, "start an agent in namespace kube-system"},
		"jobs":   {func(s *agentstest.Server, _ *Ephemeral) { s.Forbidden = "/apis/batch/v1/namespaces/kube-system/jobs" }, "start an agent on bare-a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, e := threeNodes(t), started
			test.set(s, &e)
			c := clusterOf(t, s)
			c.WithEphemeral(e)
			if err := c.Ensure(t.Context(), []string{"bare-a"}); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %s", err, test.want)
			}
			if err := c.Close(t.Context()); err != nil && name != "jobs" || len(s.Jobs) != 0 {
				t.Errorf("%d Jobs are left, %v", len(s.Jobs), err)
			}
		})
	}
}

// TestEphemeralInPart has one node on which no agent can run: it is told, and the others answer.
func TestEphemeralInPart(t *testing.T) {
	t.Parallel()
	s := threeNodes(t)
	s.Why, s.WhyOn = "ErrImagePull", "bare-b"
	c := clusterOf(t, s)
	c.WithEphemeral(started)
	if err := c.Ensure(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	answers := askAll(t.Context(), t, c, long)
	if a := answers["bare-a"]; a.Err != nil {
		t.Error(a.Err)
	}
	if a := answers["bare-b"]; a.Err == nil || !strings.Contains(a.Err.Error(), "ErrImagePull") {
		t.Error(a.Err)
	}
	if err := c.Close(t.Context()); err != nil || len(s.Jobs) != 0 {
		t.Errorf("%d Jobs are left, %v", len(s.Jobs), err)
	}
	c = clusterOf(t, threeNodes(t))
	c.WithEphemeral(started)
	if err := c.Ensure(t.Context(), []string{"bare-a", "bare-z"}); err == nil || !strings.Contains(err.Error(), "no node bare-z") {
		t.Error(err)
	}
}

// TestEphemeralInterrupted removes what it started when it is interrupted while that starts.
func TestEphemeralInterrupted(t *testing.T) {
	t.Parallel()
	s := threeNodes(t)
	s.Why = "ContainerCreating"
	c := clusterOf(t, s)
	c.WithEphemeral(started)
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(200*time.Millisecond, cancel) // wherever it is then
	if err := c.Ensure(ctx, []string{"bare-a", "bare-b"}); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Error(err)
	}
	if err := c.Close(context.Background()); err != nil || len(s.Jobs) != 0 {
		t.Errorf("%d Jobs are left, %v", len(s.Jobs), err)
	}
}

// TestNoEphemeral starts nothing unless it is asked to, and says what there is instead.
func TestNoEphemeral(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t)
	c := clusterOf(t, s)
	if err := c.Ensure(t.Context(), nil); err != nil || len(s.Jobs) != 0 {
		t.Errorf("%d Jobs, %v", len(s.Jobs), err)
	}
	if _, _, err := c.List(t.Context()); err == nil || !strings.Contains(err.Error(), "no agent in namespace tracer") || !strings.Contains(err.Error(), "--ephemeral") {
		t.Error(err)
	}
}
