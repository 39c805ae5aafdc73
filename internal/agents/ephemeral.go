package agents

import (
	"context"
	cryptorand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
)

// Ephemeral says how agents are started for the time of one command, on nodes that have none.
type Ephemeral struct {
	Image     string
	Namespace string        // one that allows host network
	Lifetime  time.Duration // after which Kubernetes itself ends and removes them, whatever became of who started them
	Ready     time.Duration // how long they may take to trace
}

// maxEphemeral is on how many nodes agents are started at once.
const maxEphemeral = 32

// ephemeralLabel is on what was started for one command; its value is the run's.
const ephemeralLabel = "tracer-ephemeral-run"

// WithEphemeral has Ensure start agents. Close ends them.
func (c *Cluster) WithEphemeral(e Ephemeral) {
	c.ephemeral, c.run, c.samplingKey = &e, rand.String(8), cryptorand.Text()
}

// Ensure starts agents on those of some nodes that have none, or of all nodes that run Linux if none are named, and returns once they trace.
// Without WithEphemeral it does nothing. What was started is removed by Close, also after an error.
func (c *Cluster) Ensure(ctx context.Context, nodes []string) error {
	if c.ephemeral == nil {
		return nil
	}
	missing, err := c.without(ctx, nodes)
	if err != nil || len(missing) == 0 {
		return err
	}
	if len(missing) > maxEphemeral {
		return fmt.Errorf("%d nodes have no agent: name up to %d, or install the chart", len(missing), maxEphemeral)
	}
	e := c.ephemeral
	// A Job says nothing of pods that are refused: ask first.
	first := c.job(missing[0])
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{GenerateName: first.GenerateName, Labels: first.Labels}, Spec: first.Spec.Template.Spec}
	if _, err := c.client.CoreV1().Pods(e.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		return explain("start an agent in namespace "+e.Namespace, err)
	}
	for _, node := range missing {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.start(ctx, node); err != nil {
			return err
		}
	}
	return c.awaitEphemeral(ctx, missing)
}

// createWithin is how long an API server may take to create a Job.
const createWithin = 10 * time.Second

// start is not interrupted by ctx: a Job that the server creates after Close has removed the others would stay for its lifetime.
func (c *Cluster) start(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), createWithin)
	defer cancel()
	c.started = true
	if _, err := c.client.BatchV1().Jobs(c.ephemeral.Namespace).Create(ctx, c.job(node), metav1.CreateOptions{}); err != nil {
		return explain("start an agent on "+node, err)
	}
	return nil
}

// without are those of some nodes, or of all that run Linux, that have no agent.
func (c *Cluster) without(ctx context.Context, names []string) (missing []string, err error) {
	have, err := c.agents(ctx)
	if err != nil && !errors.Is(err, errNoAgent) {
		return nil, err
	}
	if c.started {
		own, err := c.ephemeralAgents(ctx)
		if err != nil {
			return nil, err
		}
		if have == nil {
			have = own
		} else {
			maps.Copy(have, own)
		}
	}
	nodes, allowed, err := c.nodes(ctx)
	switch {
	case err != nil:
		return nil, err
	case !allowed && len(names) == 0:
		return nil, errors.New("your account may not list nodes: name those on which agents are to be started")
	}
	for _, name := range names {
		if allowed && !slices.ContainsFunc(nodes, func(n corev1.Node) bool { return n.Name == name }) {
			return nil, errors.New("no node " + name + ": see kubectl get nodes")
		}
	}
	if len(names) == 0 {
		for i := range nodes {
			if system := nodes[i].Labels[corev1.LabelOSStable]; system == "" || system == string(corev1.Linux) {
				names = append(names, nodes[i].Name)
			}
		}
	}
	for _, name := range names {
		if a := have[name]; a.Node == "" && !slices.Contains(missing, name) {
			missing = append(missing, name)
		}
	}
	return missing, nil
}

// job runs one node's agent. It ends by itself, and is then removed with its pod: by the deadline and the time to live, both the control
// plane's.
func (c *Cluster) job(node string) *batchv1.Job {
	e := c.ephemeral
	labels := map[string]string{ephemeralLabel: c.run, "app.kubernetes.io/name": "tracer-ephemeral", "app.kubernetes.io/part-of": "tracer"}
	privileged, root := false, int64(0)
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "tracer-ephemeral-" + c.run + "-", Namespace: e.Namespace, Labels: labels},
		Spec: batchv1.JobSpec{
			ActiveDeadlineSeconds: new(int64(e.Lifetime / time.Second)), TTLSecondsAfterFinished: new(int32(0)), BackoffLimit: new(int32(0)),
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{
				NodeName: node, HostNetwork: true, DNSPolicy: corev1.DNSDefault, RestartPolicy: corev1.RestartPolicyNever,
				AutomountServiceAccountToken: new(false), EnableServiceLinks: new(false), TerminationGracePeriodSeconds: new(int64(10)),
				ActiveDeadlineSeconds: new(int64(e.Lifetime / time.Second)),
				Tolerations:           []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
				// The host's, as of agents that are installed: of two agents on a node the second one sees the first one's lock, and ends.
				Volumes: []corev1.Volume{{Name: "run", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{
					Path: "/run/tracer", Type: new(corev1.HostPathDirectoryOrCreate),
				}}}},
				Containers: []corev1.Container{{
					Name: container, Image: e.Image, ImagePullPolicy: corev1.PullIfNotPresent,
					Args:         []string{"agent", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--state-dir="},
					Env:          []corev1.EnvVar{{Name: "NODE_NAME", Value: node}, {Name: "GOMEMLIMIT", Value: "180MiB"}, {Name: "SAMPLING_KEY", Value: c.samplingKey}},
					VolumeMounts: []corev1.VolumeMount{{Name: "run", MountPath: "/run/tracer"}},
					// Why it ended stands in the pod's status, since nobody reads its log.
					TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
					SecurityContext: &corev1.SecurityContext{ // values-hardened.yaml's
						Privileged: &privileged, AllowPrivilegeEscalation: &privileged, RunAsUser: &root, ReadOnlyRootFilesystem: new(true),
						SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
						Capabilities: &corev1.Capabilities{
							Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"BPF", "PERFMON", "NET_ADMIN", "SYSLOG", "SYS_RESOURCE"},
						},
					},
				}},
			}},
		},
	}
}

// askEvery is how often it is asked whether agents trace by now.
const askEvery = 500 * time.Millisecond

// awaitEphemeral returns when the agents on all these nodes answer, or cannot be waited for any more. It is an error if none answers: others
// are told with why when they are asked.
func (c *Cluster) awaitEphemeral(ctx context.Context, nodes []string) error {
	ctx, cancel := context.WithTimeout(ctx, c.ephemeral.Ready)
	defer cancel()
	waiting, failed := map[string]string{}, map[string]string{}
	for _, n := range nodes {
		waiting[n] = "its pod has not been made"
	}
	made := map[string]bool{}
	for {
		found, err := c.ephemeralAgents(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, node := range slices.Sorted(maps.Keys(waiting)) {
			a, ok := found[node]
			switch made[node] = made[node] || ok; {
			case !ok && made[node] && err == nil:
				failed[node] = "its pod is gone; before that: " + waiting[node]
				delete(waiting, node)
			case !ok:
			case hopeless(a.Why):
				failed[node] = a.Why
				delete(waiting, node)
			case a.Why != "":
				waiting[node] = a.Why
			default:
				client := c.Client(a)
				_, err := client.Status(ctx)
				client.Close()
				if err == nil {
					delete(waiting, node)
				} else if ctx.Err() == nil {
					waiting[node] = err.Error()
				}
			}
		}
		if len(waiting) == 0 {
			break
		}
		select {
		case <-time.After(askEvery):
			continue
		case <-ctx.Done():
		}
		if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("start agents: %w", ctx.Err())
		}
		for node, why := range waiting {
			failed[node] = fmt.Sprintf("not ready within %v: %s", c.ephemeral.Ready, why)
		}
		break
	}
	if len(failed) == len(nodes) {
		node := slices.Min(slices.Collect(maps.Keys(failed)))
		return fmt.Errorf("start an agent on %s: %s", node, failed[node])
	}
	return nil
}

// hopeless tells of why a pod does not run that waiting does not help.
func hopeless(why string) bool {
	return slices.ContainsFunc([]string{"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "CreateContainer", "RunContainerError", "its container has ended"},
		func(text string) bool { return strings.Contains(why, text) })
}

// ephemeralAgents are those that were started here, by node.
func (c *Cluster) ephemeralAgents(ctx context.Context) (map[string]Agent, error) {
	pods, err := c.pods(ctx, c.ephemeral.Namespace, ephemeralLabel+"="+c.run)
	if err != nil {
		return nil, err
	}
	found := byNode(pods, false)
	for node, a := range found {
		a.Ephemeral = true
		found[node] = a
	}
	return found, nil
}

// Close closes streams that were kept, and removes what Ensure started. What it cannot remove ends by itself after its lifetime.
func (c *Cluster) Close(ctx context.Context) error {
	c.closeKept()
	if !c.started {
		return nil
	}
	background := metav1.DeletePropagationBackground
	err := c.client.BatchV1().Jobs(c.ephemeral.Namespace).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, metav1.ListOptions{LabelSelector: ephemeralLabel + "=" + c.run})
	if apierrors.IsForbidden(err) { // deletecollection is a right of its own
		err = c.deleteEach(ctx)
	}
	if err != nil {
		return fmt.Errorf("remove the agents: %w; they end by themselves after %v", err, c.ephemeral.Lifetime)
	}
	c.started = false
	return nil
}

func (c *Cluster) deleteEach(ctx context.Context) error {
	jobs := c.client.BatchV1().Jobs(c.ephemeral.Namespace)
	list, err := jobs.List(ctx, metav1.ListOptions{LabelSelector: ephemeralLabel + "=" + c.run})
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	for i := range list.Items {
		if e := jobs.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{PropagationPolicy: &background}); e != nil && !apierrors.IsNotFound(e) {
			err = errors.Join(err, e)
		}
	}
	return err
}
