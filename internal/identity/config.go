package identity

import (
	"errors"
	"fmt"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// ErrNoCluster means that nothing says where an API server is.
var ErrNoCluster = errors.New("no kubeconfig, and not inside a pod")

// LoadConfig reads how to reach the API server: from a kubeconfig, or where none is given from the pod's service
// account.
func LoadConfig(kubeconfig string) (*rest.Config, error) {
	if kubeconfig == "" {
		return serviceAccountConfig()
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
