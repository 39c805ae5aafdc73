package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"tracer/internal/aggregate"
	"tracer/internal/export/api"
	"tracer/internal/identity"
	"tracer/internal/loader"
)

// namer names addresses, and counts those that it could not.
type namer interface {
	aggregate.Namer
	Misses() uint64
}

// clusterFlags say where names come from in a cluster.
type clusterFlags struct {
	kubeconfig string
	scope      string
	cidrNames  string
}

func (f *clusterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.kubeconfig, "kubeconfig", "", "how to reach the API server for names (default: the pod's service account; without either, no names)")
	flags.StringVar(&f.scope, "identity-scope", string(identity.NodeScope), "which pods to name: node (this node's; other nodes' pods by their Service), or cluster (all; costly in a large one)")
	flags.StringVar(&f.cidrNames, "cidr-names", "", "YAML file that maps CIDRs to names of peers outside of the cluster")
}

// kubernetes returns the cluster as source of names; nil where there is none.
func (f *clusterFlags) kubernetes(node, stateDir string) (*identity.Kubernetes, error) {
	if s := identity.Scope(f.scope); s != identity.NodeScope && s != identity.ClusterScope {
		return nil, fmt.Errorf("--identity-scope %q: choose node or cluster", f.scope)
	}
	config, err := identity.LoadConfig(f.kubeconfig)
	switch {
	case errors.Is(err, identity.ErrNoCluster) && f.cidrNames != "":
		return nil, fmt.Errorf("--cidr-names needs a cluster: %w; give --kubeconfig, or name CIDRs in --identity-file", err)
	case errors.Is(err, identity.ErrNoCluster):
		return nil, nil
	case errors.Is(err, identity.ErrNoToken) && f.cidrNames == "":
		slog.Warn("cannot ask the API server for names: pods are shown by address only", "err", err)
		return nil, nil
	case err != nil:
		return nil, err
	}
	config.UserAgent = "tracer/" + version
	var networks *identity.Networks
	if f.cidrNames != "" {
		if networks, err = identity.ReadNetworks(f.cidrNames); err != nil {
			return nil, err
		}
	}
	k, err := identity.NewKubernetes(identity.KubernetesOptions{
		Config: config, Node: node, PodUID: os.Getenv("POD_UID"), Scope: identity.Scope(f.scope), Networks: networks, StateDir: stateDir,
		Jitter: identity.MaxJitter, Clock: loader.Monotonic,
	})
	if err != nil {
		return nil, err
	}
	nodes, err := identity.ReadNodes()
	if err != nil {
		return nil, fmt.Errorf("find the nodes' addresses: %w", err)
	}
	k.SetNodes(nodes)
	return k, nil
}

// start begins to trace the current namespace, with names from the identity file if one is given, else from the cluster.
func (f *agentFlags) start() (*node, error) {
	key, err := readSamplingKey(f.samplingKeyFile)
	if err != nil {
		return nil, err
	}
	if key != "" {
		f.samplingKey = func() string { return key }
	}
	if f.identityFile != "" {
		if f.cluster.kubeconfig != "" {
			return nil, errors.New("--identity-file and --kubeconfig exclude each other; give one of them")
		}
		return f.tracingFlags.start()
	}
	files, err := loader.CurrentFiles(f.runDir)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(files.IdentityFile()); err == nil && f.cluster.kubeconfig == "" {
		return f.tracingFlags.start() // a lab's
	}
	name := f.nodeName(nil)
	k, err := f.cluster.kubernetes(name, f.stateDir)
	if err != nil {
		return nil, err
	}
	if k == nil {
		return f.tracingFlags.start()
	}
	if f.samplingKey == nil {
		f.samplingKey = k.OwnSet
	}
	a, err := f.startAgent(k, k)
	if err != nil {
		return nil, err
	}
	slog.Info("taking names from the API server", "node", name, "scope", f.cluster.scope)
	return newNode(a, name, k, k), nil
}

// identityStatus is the state of the names; nil where they do not come from a cluster.
func identityStatus(k *identity.Kubernetes) *api.IdentityStatus {
	if k == nil {
		return nil
	}
	s := k.Status()
	return &api.IdentityStatus{
		Scope: string(s.Scope), Synced: s.Synced, Errors: s.Errors, Conflicts: s.Conflicts, Stale: s.Stale,
	}
}
