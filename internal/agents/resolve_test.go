package agents

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
)

// owned is a pod of a workload.
func owned(namespace, name, kind, owner, node string, ips ...string) corev1.Pod {
	controller := true
	p := corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": owner, "pod-template-hash": "7d9"}},
		Spec:       corev1.PodSpec{NodeName: node},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning},
	}
	if kind != "" {
		if kind == "ReplicaSet" {
			owner += "-7d9"
		}
		p.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: owner, Controller: &controller}}
	}
	for _, ip := range ips {
		p.Status.PodIPs = append(p.Status.PodIPs, corev1.PodIP{IP: ip})
	}
	return p
}

// store has workloads of all kinds, two of one name, and nodes.
func store() map[string]any {
	done := owned("store", "web-7d9-old", "ReplicaSet", "web", "node-c", "10.244.3.9")
	done.Status.Phase = corev1.PodSucceeded
	service := func(name, ip string, selector map[string]string) *corev1.Service {
		return &corev1.Service{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
			ObjectMeta: metav1.ObjectMeta{Namespace: "store", Name: name},
			Spec:       corev1.ServiceSpec{ClusterIP: ip, ClusterIPs: []string{ip}, Selector: selector},
		}
	}
	node := corev1.Node{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Node"},
		ObjectMeta: metav1.ObjectMeta{Name: "node-a"},
		Status:     corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "192.168.0.1"}, {Type: corev1.NodeHostName, Address: "node-a"}}},
	}
	return map[string]any{
		"/api/v1/pods": &corev1.PodList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{
			owned("store", "web-7d9-aaaaa", "ReplicaSet", "web", "node-a", "10.244.1.2", "fd00:1::2"),
			owned("store", "web-7d9-bbbbb", "ReplicaSet", "web", "node-b", "10.244.2.2"),
			owned("other", "web-7d9-ccccc", "ReplicaSet", "web", "node-b", "10.244.2.3"),
			owned("store", "db-0", "StatefulSet", "db", "node-b", "10.244.2.4"),
			owned("store", "cache-0", "StatefulSet", "cache", "node-b", "10.244.2.5"),
			owned("store", "cache-x", "DaemonSet", "cache", "node-a", "10.244.1.5"),
			owned("store", "alone", "", "", "node-a", "10.244.1.6"),
			owned("store", "waits", "", "", "node-a"),
			done,
		}},
		"/api/v1/nodes":                          &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}, Items: []corev1.Node{node}},
		"/api/v1/nodes/node-a":                   &node,
		"/api/v1/namespaces/store/services/shop": service("shop", "10.96.0.10", map[string]string{"app": "web"}),
		"/api/v1/namespaces/store/services/bare": service("bare", "10.96.0.11", nil),
		"/api/v1/namespaces/store/services/head": service("head", "None", map[string]string{"app": "db"}),
	}
}

// TestResolve finds ends by all names that they have, and says of others what is missing.
func TestResolve(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t)
	s.Objects = store()
	r, err := clusterOf(t, s).Resolver(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"deploy/web":         "10.244.1.2 10.244.2.2 fd00:1::2 on node-a node-b",
		"Deployment/web":     "10.244.1.2 10.244.2.2 fd00:1::2 on node-a node-b",
		"web":                "10.244.1.2 10.244.2.2 fd00:1::2 on node-a node-b",
		"pod/web-7d9-aaaaa":  "10.244.1.2 fd00:1::2 on node-a",
		"web-7d9-bbbbb":      "10.244.2.2 on node-b",
		"sts/db":             "10.244.2.4 on node-b",
		"db-0":               "10.244.2.4 on node-b",
		"sts/cache":          "10.244.2.5 on node-b",
		"ds/cache":           "10.244.1.5 on node-a",
		"alone":              "10.244.1.6 on node-a",
		"svc/shop":           "10.244.1.2 10.244.2.2 10.96.0.10 fd00:1::2 on node-a node-b",
		"shop":               "10.244.1.2 10.244.2.2 10.96.0.10 fd00:1::2 on node-a node-b",
		"svc/head":           "10.244.2.4 on node-b",
		"node/node-a":        "192.168.0.1 on node-a",
		"10.244.2.3":         "10.244.2.3 on node-b",
		"::ffff:10.244.2.3":  "10.244.2.3 on node-b",
		"192.168.0.1":        "192.168.0.1 on node-a",
		"203.0.113.9":        "203.0.113.9 on",
		"cache":              "cache may be daemonset/cache or statefulset/cache: say which",
		"deploy/db":          "no pod of deploy/db in namespace store has an address",
		"pod/waits":          "no pod of pod/waits in namespace store has an address",
		"web-7d9-ccccc":      "no workload, pod or Service web-7d9-ccccc",
		"svc/none":           "no Service none in namespace store",
		"svc/bare":           "svc/bare has no selector",
		"node/node-z":        "no node node-z",
		"configmap/settings": `no kind "configmap"`,
		"deploy/":            "a name is missing",
	} {
		e, err := r.Resolve(t.Context(), text)
		var got []string
		for _, a := range slices.SortedFunc(slices.Values(e.Addresses), netip.Addr.Compare) {
			got = append(got, a.String())
		}
		slices.Sort(got)
		said := strings.TrimSpace(strings.Join(got, " ") + " on " + strings.Join(e.Nodes, " "))
		if err != nil {
			said = err.Error()
		}
		if said != want && (err == nil || !strings.Contains(said, want)) {
			t.Errorf("%s: %s, want %s", text, said, want)
		}
	}
}

// TestResolveOnHost tells pods that have their node's address, by name and by address, and whether an address is a node's where nodes may
// not be listed.
func TestResolveOnHost(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t)
	s.Objects = store()
	exporter := owned("store", "exporter-x", "DaemonSet", "exporter", "node-a", "192.168.0.1")
	exporter.Spec.HostNetwork = true
	pods := s.Objects["/api/v1/pods"].(*corev1.PodList)
	pods.Items = append(pods.Items, exporter)
	delete(s.Objects, "/api/v1/nodes")
	s.Forbidden = "/api/v1/nodes"
	r, err := clusterOf(t, s).Resolver(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]End{
		"ds/exporter": {OnHost: []string{"node-a"}},
		"192.168.0.1": {OnHost: []string{"node-a"}},
		"192.168.0.2": {Unknown: true},
		"deploy/web":  {},
		"10.244.1.2":  {},
	} {
		if e, err := r.Resolve(t.Context(), text); err != nil || !slices.Equal(e.OnHost, want.OnHost) || e.Unknown != want.Unknown {
			t.Errorf("%s: %+v, %v", text, e, err)
		}
	}
}

// TestResolveForbidden says which right is missing.
func TestResolveForbidden(t *testing.T) {
	t.Parallel()
	s := agentstest.New(t)
	s.Objects = store()
	delete(s.Objects, "/api/v1/namespaces/store/services/shop")
	s.Forbidden = "/api/v1/namespaces/store/services/shop"
	r, err := clusterOf(t, s).Resolver(t.Context(), "store")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Resolve(t.Context(), "svc/shop"); err == nil || !strings.Contains(err.Error(), "get services: your account lacks a right on services") {
		t.Error(err)
	}
}
