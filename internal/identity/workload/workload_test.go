package workload

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWorkload(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		pod, kind, owner string
		labels           map[string]string
		want             string
	}{
		{pod: "web-7d9c6b5f4-x2x7k", kind: "ReplicaSet", owner: "web-7d9c6b5f4", labels: map[string]string{"pod-template-hash": "7d9c6b5f4"}, want: "web"},
		{pod: "web-7d9c6b5f4-x2x7k", kind: "ReplicaSet", owner: "web-7d9c6b5f4", labels: map[string]string{"rollouts-pod-template-hash": "7d9c6b5f4"}, want: "web"},
		{pod: "web-1-x2x7k", kind: "ReplicaSet", owner: "web-1", want: "web-1"}, // of nobody
		{pod: "web-1-x2x7k", kind: "ReplicaSet", owner: "web-1", labels: map[string]string{"pod-template-hash": "2"}, want: "web-1"},
		{pod: "db-0", kind: "StatefulSet", owner: "db", want: "db"},
		{pod: "proxy-abcde", kind: "DaemonSet", owner: "proxy", want: "proxy"},
		{pod: "backup-29384756-x", kind: "Job", owner: "backup-29384756", want: "backup"},
		{pod: "backup-1604102400-x", kind: "Job", owner: "backup-1604102400", want: "backup"},
		{pod: "migrate-x", kind: "Job", owner: "migrate", want: "migrate"},
		{pod: "migrate-20240131-x", kind: "Job", owner: "migrate-20240131", want: "migrate-20240131"}, // a date
		{pod: "migrate-42-x", kind: "Job", owner: "migrate-42", want: "migrate-42"},
		{pod: "kube-apiserver-node1", kind: "Node", owner: "node1", want: "kube-apiserver"},
		{pod: "alone", want: "alone"},
		{pod: "x-1", kind: "Kafka", owner: "events", want: "events"},
	} {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: test.pod, Labels: test.labels}}
		if test.owner != "" {
			yes := true
			p.OwnerReferences = []metav1.OwnerReference{{Kind: "Other", Name: "other"}, {Kind: test.kind, Name: test.owner, Controller: &yes}}
		}
		if got := Of(p); got != test.want {
			t.Errorf("%s of %s %s is %q, want %q", test.pod, test.kind, test.owner, got, test.want)
		}
	}
}
