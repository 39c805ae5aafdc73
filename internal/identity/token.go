package identity

import (
	"errors"
	"fmt"
	"os"

	"k8s.io/client-go/rest"
)

// ErrNoToken means that no service account's token is mounted in this pod.
var ErrNoToken = errors.New("this pod has no service account's token; set automountServiceAccountToken: true, or give --kubeconfig")

// serviceAccountConfig takes the address of the API server from the pod's environment and the token from
// /var/run/secrets/kubernetes.io/serviceaccount/token.
//
// How the token is renewed: the kubelet replaces that file before the token expires (by default after about an hour), and
// client-go reads it again. rest.InClusterConfig sets BearerTokenFile, and the transport that httpClient makes from the
// config takes the token from the file for each request, from a copy of at most a minute's age (bearerAuthRoundTripper
// and NewCachedFileTokenSource in k8s.io/client-go/transport). Nothing in this package has to do it.
//
// The same goes for a kubeconfig with tokenFile; one with exec has its command run again when the credential expires. A
// token written into a kubeconfig is never renewed: when it expires the informers report 401 (informer.advise).
func serviceAccountConfig() (*rest.Config, error) {
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
