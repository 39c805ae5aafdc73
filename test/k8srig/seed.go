package k8srig

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
)

// Client is one of the administrator's, without a limit of its own.
func (c *ControlPlane) Client() (*kubernetes.Clientset, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig(Admin))
	if err != nil {
		return nil, err
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	return kubernetes.NewForConfig(config)
}

// SeedPod describes a pod that runs nowhere: it exists in the API server alone.
type SeedPod struct {
	Namespace, Name, Workload, Node, IP string
	// Weight is roughly how many bytes of what nobody needs it has besides: pods of real clusters have many.
	Weight int
}

// Seed puts a pod into the API server, with its status.
func Seed(ctx context.Context, client kubernetes.Interface, s SeedPod) error {
	if err := s.Create(ctx, client); err != nil {
		return err
	}
	return s.Run(ctx, client)
}

// Create puts the pod into the API server, as the scheduler leaves it.
func (s *SeedPod) Create(ctx context.Context, client kubernetes.Interface) error {
	controller := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name, Namespace: s.Namespace, Labels: map[string]string{"app": s.Workload, "pod-template-hash": "7d9c6b5f4"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: appsv1.SchemeGroupVersion.String(), Kind: "ReplicaSet", Name: s.Workload + "-7d9c6b5f4", UID: types.UID(s.Workload),
				Controller: &controller,
			}},
		},
		Spec: corev1.PodSpec{
			NodeName:   s.Node,
			Containers: []corev1.Container{{Name: "main", Image: "example.org/" + s.Workload + ":1"}},
		},
	}
	for i := 0; i*100 < s.Weight; i++ {
		p.Spec.Containers[0].Env = append(p.Spec.Containers[0].Env, corev1.EnvVar{
			Name: fmt.Sprintf("SETTING_%d", i), Value: strings.Repeat("x", 80),
		})
	}
	_, err := client.CoreV1().Pods(s.Namespace).Create(ctx, p, metav1.CreateOptions{})
	return err
}

// Run says that the pod runs, and where, as the kubelet does.
func (s *SeedPod) Run(ctx context.Context, client kubernetes.Interface) error {
	status := fmt.Sprintf(`{"status": {"phase": "Running", "hostIP": "10.200.0.1", "hostIPs": [{"ip": "10.200.0.1"}], "podIP": %[1]q, "podIPs": [{"ip": %[1]q}]}}`, s.IP)
	_, err := client.CoreV1().Pods(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, []byte(status), metav1.PatchOptions{}, "status")
	return err
}

// SeedAll puts many pods into the API server, and Services with their EndpointSlices.
func SeedAll(ctx context.Context, client kubernetes.Interface, pods []SeedPod, services []SeedService) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(32)
	for _, p := range pods {
		group.Go(func() error { return Seed(ctx, client, p) })
	}
	for _, s := range services {
		group.Go(func() error { return s.seed(ctx, client) })
	}
	return group.Wait()
}

// SeedService describes a Service, with backends that are addresses of pods by name.
type SeedService struct {
	Namespace, Name, IP string
	Backends            []SeedPod
}

func (s *SeedService) seed(ctx context.Context, client kubernetes.Interface) error {
	_, err := client.CoreV1().Services(s.Namespace).Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: s.Name, Namespace: s.Namespace},
		Spec:       corev1.ServiceSpec{ClusterIP: s.IP, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.Name + "-1", Namespace: s.Namespace, Labels: map[string]string{discoveryv1.LabelServiceName: s.Name},
		},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, b := range s.Backends {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{b.IP}, NodeName: &b.Node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: b.Namespace, Name: b.Name, UID: types.UID(b.Name)},
		})
	}
	_, err = client.DiscoveryV1().EndpointSlices(s.Namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}
