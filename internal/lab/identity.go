package lab

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"

	"go.yaml.in/yaml/v3"

	"tracer/internal/aggregate"
)

// identity is one entry of the file that names addresses for an agent without Kubernetes.
type identity struct {
	IP        netip.Addr `yaml:"ip"`
	Namespace string     `yaml:"namespace,omitempty"`
	Pod       string     `yaml:"pod,omitempty"`
	Workload  string     `yaml:"workload,omitempty"`
	Node      string     `yaml:"node,omitempty"`
	Service   string     `yaml:"service,omitempty"`
	Ingress   string     `yaml:"ingress_bandwidth,omitempty"`
	Egress    string     `yaml:"egress_bandwidth,omitempty"`
	Endpoints *int       `yaml:"endpoints,omitempty"`
}

func (t *topology) identities() []identity {
	var all []identity
	for _, n := range t.Nodes {
		for _, ip := range []netip.Addr{n.Address, n.Address6, n.Tunnel, n.Tunnel6} {
			all = append(all, identity{IP: ip, Workload: aggregate.NodeWorkload, Node: n.Name})
		}
	}
	for _, p := range t.Pods {
		for _, ip := range []netip.Addr{p.Address, p.Address6} {
			all = append(all, identity{IP: ip, Namespace: kubeNamespace, Pod: p.PodName, Workload: p.Name, Node: p.Node,
				Ingress: p.IngressBandwidth, Egress: p.EgressBandwidth})
		}
	}
	for _, s := range t.EmptyServices {
		all = append(all, identity{IP: s.Address, Namespace: s.Namespace, Service: s.Name, Endpoints: new(0)})
	}
	return append(all, identity{IP: t.Service.Address, Namespace: kubeNamespace, Service: t.Service.Name})
}

// identityFile is where an agent in the namespace looks by default.
func identityFile(runDir string, inode uint64) string {
	return filepath.Join(runDir, fmt.Sprintf("%d.identity.yaml", inode))
}

// writeIdentities writes the same file for each node.
func (t *topology) writeIdentities() error {
	data, err := yaml.Marshal(t.identities())
	if err != nil {
		return fmt.Errorf("identities: %w", err)
	}
	for _, n := range t.nodesHere() {
		if err := os.WriteFile(n.IdentityFile, data, 0o644); err != nil {
			return fmt.Errorf("write identities of %s: %w", n.Name, err)
		}
	}
	return nil
}
