package identity

import (
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// FuzzObject takes pods, services, slices of endpoints and nodes as the API server sends them, each changed once and deleted.
func FuzzObject(f *testing.F) {
	meta := metav1.ObjectMeta{Name: "web-1", Namespace: "default", UID: "u", Annotations: map[string]string{ingressBandwidth: "10M"},
		Labels: map[string]string{discoveryv1.LabelServiceName: "web"}, OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-5d4f"}}}
	node := "node1"
	pod := &corev1.Pod{ObjectMeta: meta, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: "10.244.1.2", PodIPs: []corev1.PodIP{{IP: "10.244.1.2"}, {IP: "fd00::2"}}, HostIP: "172.18.0.2"}}
	service := &corev1.Service{ObjectMeta: meta, Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.10", ClusterIPs: []string{"10.96.0.10", "None"}}}
	slice := &discoveryv1.EndpointSlice{ObjectMeta: meta, AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{
		{Addresses: []string{"10.244.1.2"}, NodeName: &node, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: "web-1", UID: "u"}}}}
	machine := &corev1.Node{ObjectMeta: meta, Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "172.18.0.2"}}}}
	for kind, o := range []interface{ Marshal() ([]byte, error) }{pod, service, slice, machine} {
		data, err := o.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(uint8(kind), data, data[:len(data)/2])
		f.Add(uint8(kind), data, data)
	}
	f.Fuzz(func(t *testing.T, kind uint8, first, second []byte) {
		k, _ := source(t, nil)
		all := k.informers()
		w := all[int(kind)%len(all)]
		var known []any
		for _, data := range [][]byte{first, second} {
			object, err := w.decode(data)
			if err != nil {
				continue
			}
			stripped := w.strip(object)
			if len(known) == 0 {
				known = append(known, stripped)
				if err := w.Replace(known, "1"); err != nil {
					t.Fatal(err)
				}
			} else if err := w.Update(stripped); err != nil {
				t.Fatal(err)
			}
		}
		k.Lookup(netip.MustParseAddr("10.244.1.2"), 0)
		if err := w.Replace(nil, "2"); err != nil {
			t.Fatal(err)
		}
	})
}
