package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// answerWithin is how long the API server may take to begin an answer. One that accepts a request and is silent would
// hold us for good.
const answerWithin = 30 * time.Second

// ErrNoCluster means that nothing says where an API server is.
var ErrNoCluster = errors.New("no kubeconfig, and not inside a pod")

// ErrNoToken means that the pod that we are in may not ask the API server.
var ErrNoToken = errors.New("this pod has no service account's token; set automountServiceAccountToken: true, or give --kubeconfig")

// LoadConfig reads how to reach the API server: from a kubeconfig, or where none is given from the pod's service
// account.
func LoadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		switch {
		case errors.Is(err, rest.ErrNotInCluster):
			return nil, ErrNoCluster
		case errors.Is(err, os.ErrNotExist):
			return nil, ErrNoToken
		case err != nil:
			return nil, fmt.Errorf("read the pod's service account: %w", err)
		}
		return config, nil
	}
	// Without the defaults of the loading rules: a file that is given and not there is a mistake.
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w; give a readable one with --kubeconfig", kubeconfig, err)
	}
	for _, cluster := range config.Clusters {
		cluster.LocationOfOrigin = kubeconfig
	}
	for _, user := range config.AuthInfos {
		user.LocationOfOrigin = kubeconfig
	}
	if err := clientcmd.ResolveLocalPaths(config); err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w", kubeconfig, err)
	}
	c, err := clientcmd.NewDefaultClientConfig(*config, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig %s: %w; it needs a current context with a cluster's server", kubeconfig, err)
	}
	return c, nil
}

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

// httpClient is one for all kinds, so that they share a connection.
func httpClient(config *rest.Config, within time.Duration) (*http.Client, error) {
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return impatient{next, within} })
	return rest.HTTPClientFor(config)
}

// impatient ends a request to which no answer begins.
type impatient struct {
	next   http.RoundTripper
	within time.Duration
}

func (i impatient) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(r.Context())
	timer := time.AfterFunc(i.within, func() {
		cancel(fmt.Errorf("no answer from %s within %v", r.URL.Host, i.within))
	})
	response, err := i.next.RoundTrip(r.WithContext(ctx))
	timer.Stop()
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && r.Context().Err() == nil {
			err = cause
		}
		cancel(nil)
		return nil, err
	}
	response.Body = body{response.Body, cancel}
	return response, nil
}

// body releases what its request holds once it is closed.
type body struct {
	io.ReadCloser
	release context.CancelCauseFunc
}

func (b body) Close() error {
	defer b.release(nil)
	return b.ReadCloser.Close()
}
