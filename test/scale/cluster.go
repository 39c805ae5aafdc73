package main

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// size is how large a cluster is. Pods are spread evenly, over nodes and behind Services.
type size struct {
	nodes, pods, services int
	podBytes              int // of each pod in protobuf, about
}

// perSlice is how many endpoints Kubernetes puts into an EndpointSlice at most.
const perSlice = 100

// began is when all pods were made that were never replaced.
var began = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// cluster makes the objects of a large cluster when they are asked for: what is kept of a pod is how often it was replaced. Its
// methods are not for many goroutines at once.
type cluster struct {
	size
	replaced []uint32
	placed   map[int]netip.Addr // pods with an address of their own
	text     string             // for what pods have besides
	settings int                // of each pod
	state    map[int]podState   // of pods that are being replaced
}

// podState is what holds for a moment while a pod is replaced.
type podState int

const (
	running podState = iota
	terminating
	pending // no address yet
	unready
)

func newCluster(s size) *cluster {
	c := &cluster{size: s, replaced: make([]uint32, s.pods), placed: map[int]netip.Addr{}, state: map[int]podState{}}
	random := rand.New(rand.NewPCG(1, 2))
	var text strings.Builder
	for text.Len() < 1<<16 {
		fmt.Fprintf(&text, "%016x", random.Uint64())
	}
	c.text = text.String()
	for c.pod(0, "1").Size() < s.podBytes {
		c.settings++
	}
	return c
}

// padding stands for what real pods have besides, of each workload something else: what a compressor makes of it is about half.
func (c *cluster) padding(workload int) []corev1.EnvVar {
	list := make([]corev1.EnvVar, c.settings)
	for i := range list {
		from := (workload*7919 + i*131) % (len(c.text) - 80)
		list[i] = corev1.EnvVar{Name: "SETTING_" + strconv.Itoa(i), Value: c.text[from : from+80]}
	}
	return list
}

func nodeName(i int) string          { return "node" + strconv.Itoa(i+1) }
func (c *cluster) node(i int) string { return nodeName(i % c.nodes) }

func (c *cluster) nodeAddress(i int) netip.Addr { return address(10<<24|64<<16, i%c.nodes) }

func address(network uint32, i int) netip.Addr {
	n := network + uint32(i) + 1
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

// address is a pod's: the next pod in its place has another one.
func (c *cluster) address(i int) netip.Addr {
	if a, ok := c.placed[i]; ok {
		return a
	}
	return address(10<<24|128<<16, i+int(c.replaced[i]%8)*(1<<18))
}

// workload is that of pod i, which is behind the Service of that name.
func (c *cluster) workload(i int) string { return serviceName(i % c.services) }

func serviceName(i int) string { return fmt.Sprintf("checkout-%05d", i) }

// namespace is that of a Service and its pods: 20 Services share one.
func (c *cluster) namespace(service int) string { return fmt.Sprintf("team-%03d", service/20) }

// podName ends as those of a ReplicaSet's pods do.
func (c *cluster) podName(i int) string {
	return fmt.Sprintf("%s-7d9c6b5f4-%s", c.workload(i), suffix(uint64(i/c.services)<<12|uint64(c.replaced[i]&0xfff)))
}

// suffix is five characters as Kubernetes chooses them, other ones for each number below 27^5.
func suffix(n uint64) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	const all = 27 * 27 * 27 * 27 * 27
	n = n * 7368787 % all // the two have no divisor in common
	var s [5]byte
	for k := range s {
		s[k] = letters[n%27]
		n /= 27
	}
	return string(s[:])
}

func (c *cluster) uid(i int) types.UID { return uid('p', uint64(i)<<32|uint64(c.replaced[i])) }

// uid is of no pattern, as Kubernetes makes them: none can be made smaller by compression.
func uid(kind byte, n uint64) types.UID {
	h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte{kind}, n))
	return types.UID(fmt.Sprintf("%x-%x-%x-%x-%x", h[:4], h[4:6], h[6:8], h[8:10], h[10:16]))
}

func (c *cluster) pod(i int, version string) *corev1.Pod {
	workload, controller := c.workload(i), true
	state := c.state[i]
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: c.podName(i), Namespace: c.namespace(i % c.services), UID: c.uid(i), ResourceVersion: version, CreationTimestamp: began,
			GenerateName: workload + "-7d9c6b5f4-", Labels: map[string]string{"app": workload, "pod-template-hash": "7d9c6b5f4"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: workload + "-7d9c6b5f4", UID: c.serviceUID(i % c.services), Controller: &controller,
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:   c.node(i),
			Containers: []corev1.Container{{Name: "main", Image: "registry.example.org/shop/" + workload + ":v1.2.3", Env: c.padding(i % c.services)}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending, StartTime: &began},
	}
	if state == pending {
		return p
	}
	if state == terminating {
		p.DeletionTimestamp = &began
	}
	ip, host := c.address(i).String(), c.nodeAddress(i).String()
	p.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, HostIP: host, HostIPs: []corev1.HostIP{{IP: host}}, StartTime: &began,
		ContainerStatuses: []corev1.ContainerStatus{{Name: "main", Ready: state == running, State: corev1.ContainerState{
			Running: &corev1.ContainerStateRunning{StartedAt: began},
		}}},
	}
	return p
}

func (c *cluster) serviceUID(i int) types.UID {
	return uid('s', uint64(i))
}

func (c *cluster) service(i int, version string) *corev1.Service {
	ip := address(10<<24|96<<16, i).String()
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Name: serviceName(i), Namespace: c.namespace(i), UID: c.serviceUID(i), ResourceVersion: version, CreationTimestamp: began,
			Labels: map[string]string{"app": serviceName(i)},
		},
		Spec: corev1.ServiceSpec{
			ClusterIP: ip, ClusterIPs: []string{ip}, Type: corev1.ServiceTypeClusterIP, Selector: map[string]string{"app": serviceName(i)},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080), Protocol: corev1.ProtocolTCP}},
		},
	}
}

// slicesOf is how many EndpointSlices each Service has.
func (c *cluster) slicesOf() int {
	return max(1, ((c.pods+c.services-1)/c.services+perSlice-1)/perSlice)
}

// slice has every so many of a Service's pods: i counts the slices of all Services.
func (c *cluster) slice(i int, version string) *discoveryv1.EndpointSlice {
	service, part := i/c.slicesOf(), i%c.slicesOf()
	tcp, port, name, controller := corev1.ProtocolTCP, int32(8080), "http", true
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("%s-%s", serviceName(service), suffix(uint64(i))), GenerateName: serviceName(service) + "-",
			Namespace: c.namespace(service), UID: uid('e', uint64(i)), ResourceVersion: version, CreationTimestamp: began,
			Labels: map[string]string{
				discoveryv1.LabelServiceName: serviceName(service), discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io", "app": serviceName(service),
			},
			Annotations:     map[string]string{"endpoints.kubernetes.io/last-change-trigger-time": "2026-01-02T03:04:05Z"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Service", Name: serviceName(service), UID: c.serviceUID(service), Controller: &controller}},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
	}
	for n, i := 0, service; i < c.pods; n, i = n+1, i+c.services {
		state := c.state[i]
		if n/perSlice != part || state == pending {
			continue
		}
		node, zone, ready, serving, ending := c.node(i), "zone-"+strconv.Itoa(i%3), state == running, state != unready, state == terminating
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{c.address(i).String()}, NodeName: &node, Zone: &zone,
			Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &ending},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: c.podName(i), UID: c.uid(i)},
		})
	}
	return s
}

// sliceOfPod is the number of the slice that has a pod.
func (c *cluster) sliceOfPod(i int) int {
	return i%c.services*c.slicesOf() + i/c.services/perSlice
}
