package identity

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestOwnSet finds the DaemonSet of the pod that this process is in, and of no other.
func TestOwnSet(t *testing.T) {
	t.Parallel()
	yes := true
	for _, test := range []struct{ name, podUID, kind, want string }{
		{"the agent's own pod", "uid-agent", "DaemonSet", "uid-set"},
		{"no agent's pod is known", "", "DaemonSet", ""},
		{"of other pods", "uid-gone", "DaemonSet", ""},
		{"a Job's", "uid-agent", "Job", ""},
	} {
		k, _ := source(t, func(o *KubernetesOptions) { o.PodUID = test.podUID })
		if got := k.OwnSet(); got != "" {
			t.Errorf("%s: %q before anything is known", test.name, got)
		}
		agent, other := aPod("agent", "node1", "10.244.1.2"), aPod("other", "node1", "10.244.1.3")
		agent.OwnerReferences = []metav1.OwnerReference{{Kind: "Other", UID: "uid-other"}, {Kind: test.kind, UID: "uid-set", Controller: &yes}}
		other.OwnerReferences = []metav1.OwnerReference{{Kind: "DaemonSet", UID: "uid-other-set", Controller: &yes}}
		tell(t, &k.pods, other, agent)
		if got := k.OwnSet(); got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}
