package identity

import (
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
)

// resource is a kind of object that is watched.
type resource struct {
	name    string // in paths and RBAC rules
	path    string // of its API
	version schema.GroupVersion
	object  runtime.Object
	list    runtime.Object
}

func podResource() resource {
	return resource{"pods", "/api", schema.GroupVersion{Version: "v1"}, &corev1.Pod{}, &corev1.PodList{}}
}

func serviceResource() resource {
	return resource{"services", "/api", schema.GroupVersion{Version: "v1"}, &corev1.Service{}, &corev1.ServiceList{}}
}

func endpointSliceResource() resource {
	return resource{"endpointslices", "/apis", schema.GroupVersion{Group: "discovery.k8s.io", Version: "v1"},
		&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{}}
}

// client returns one that knows this kind alone: a scheme with all kinds would double the program.
func (r resource) client(config *rest.Config, transport *http.Client) (*rest.RESTClient, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(r.version, r.object, r.list)
	metav1.AddToGroupVersion(scheme, r.version)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = r.path, &r.version
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf
	return rest.RESTClientForConfigAndClient(config, transport)
}

// httpClient makes one client for all kinds, so that they share a connection. It sends the token of config (see token.go).
func httpClient(config *rest.Config, timeout time.Duration) (*http.Client, error) {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return timeoutTransport{next, timeout} })
	return rest.HTTPClientFor(config)
}
