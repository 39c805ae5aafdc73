package main

import (
	"errors"
	"log/slog"
	"net/netip"

	"tracer/internal/diagnose"
	"tracer/internal/events"
	"tracer/internal/identity"
)

// eventRecorder tells the cluster of findings, where that is asked for; else nil.
func (f *agentFlags) eventRecorder(n *node) (*events.Recorder, error) {
	if !f.events {
		return nil, nil
	}
	if n.cluster == nil {
		return nil, errors.New("--events needs a cluster: run in a pod with a service account, or give --kubeconfig")
	}
	config, err := identity.LoadConfig(f.cluster.kubeconfig)
	if err != nil {
		return nil, err
	}
	config.UserAgent = "tracer/" + version
	sink, err := events.NewSink(config)
	if err != nil {
		return nil, err
	}
	return events.New(events.Options{
		Sink: sink, Node: n.name, Log: slog.Default(),
		Active: func() []diagnose.ActiveFinding {
			active, _ := n.Agent.ActiveFindings()
			return active
		},
		PodAt: func(address netip.Addr) (p events.Pod, ok bool) {
			p.Namespace, p.Name, p.UID, ok = n.cluster.LocalPod(address)
			return p, ok
		},
	}), nil
}
