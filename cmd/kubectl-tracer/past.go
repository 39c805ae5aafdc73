package main

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/prometheus"
)

// past is what a Prometheus has of a cluster; nil for none.
type past struct{ client prometheus.Client }

// past is the server that the flags name.
func (f *clusterFlags) past(ctx context.Context, c *agents.Cluster) (*past, error) {
	if f.prometheus == "" {
		return nil, nil
	}
	client, err := c.Prometheus(ctx, f.prometheus)
	if err != nil {
		return nil, err
	}
	return &past{client}, nil
}

// Expressions that tell which nodes there are, and which are to be asked. Coverage below a half is blind.
const (
	knownNodes  = `max by (node, instance) (tracer_build_info)`
	uneasyNodes = `max by (node, instance) (max_over_time(tracer_finding{severity=~"critical|warning"}[2m]) > 0) or max by (node, instance) (tracer_coverage_ratio < 0.5)`
)

// pastWithin is how long Prometheus may take for one answer.
const pastWithin = 30 * time.Second

// split tells the agents that are to be asked from those that are quiet: of which Prometheus has something, and no finding.
func (p *past) split(ctx context.Context, all []agents.Agent, m *cluster.Map) (asked, quiet []agents.Agent, err error) {
	ctx, cancel := context.WithTimeout(ctx, pastWithin)
	defer cancel()
	known, err := p.client.Query(ctx, knownNodes)
	if err != nil {
		return nil, nil, err
	}
	uneasy, err := p.client.Query(ctx, uneasyNodes)
	if err != nil {
		return nil, nil, err
	}
	knows, hurts := nodesOfSeries(known, m), nodesOfSeries(uneasy, m)
	for _, a := range all {
		if a.Why == "" && slices.Contains(knows, a.Node) && !slices.Contains(hurts, a.Node) {
			quiet = append(quiet, a)
		} else {
			asked = append(asked, a)
		}
	}
	return asked, quiet, nil
}

// nodesOfSeries are the nodes whose agents series are from.
func nodesOfSeries(all []prometheus.Series, m *cluster.Map) (nodes []string) {
	for i := range all {
		nodes = append(nodes, nodeOf(&all[i], m))
	}
	return nodes
}

// nodeOf is the node whose agent a series is from: by its label, or by the address that was scraped.
func nodeOf(s *prometheus.Series, m *cluster.Map) string {
	if node := s.Labels["node"]; node != "" {
		return node
	}
	at, err := netip.ParseAddrPort(s.Labels["instance"])
	if err != nil {
		return s.Labels["instance"]
	}
	if place := m.Places[at.Addr().Unmap()]; place.Node != "" {
		return place.Node
	}
	return s.Labels["instance"]
}
