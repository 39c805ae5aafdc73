package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/prometheus"
)

// past is what a Prometheus has of a cluster; nil for none.
type past struct {
	client prometheus.Client
	match  string // matchers of labels that choose the cluster among several, as cluster="a"; "" if it has one alone
}

// past is the server that the flags name.
func (f *clusterFlags) past(ctx context.Context, c *agents.Cluster) (*past, error) {
	match := matchers(f.prometheusMatch)
	if f.prometheus == "" {
		if match != "" {
			return nil, errors.New("--prometheus-match says what to take of a Prometheus: name that by --prometheus")
		}
		return nil, nil
	}
	client, err := c.Prometheus(ctx, f.prometheus)
	if err != nil {
		return nil, err
	}
	return &past{client, match}, nil
}

// matchers are what is between the braces of a selector, which may be given with them.
func matchers(text string) string {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") && strings.HasSuffix(text, "}") {
		text = text[1 : len(text)-1]
	}
	return strings.Trim(text, ", ")
}

// selector chooses a metric's series of this cluster.
func (p *past) selector(metric, labels string) string {
	return metric + "{" + strings.Trim(labels+","+p.match, ",") + "}"
}

// knownNodes asks which nodes there are.
func (p *past) knownNodes() string {
	return fmt.Sprintf("max by (node, instance) (%s)", p.selector("tracer_build_info", ""))
}

// uneasyNodes asks which of them are to be asked. Coverage below a half is blind.
func (p *past) uneasyNodes() string {
	return fmt.Sprintf("max by (node, instance) (max_over_time(%s[2m]) > 0) or max by (node, instance) (%s < 0.5)",
		p.selector("tracer_finding", `severity=~"critical|warning"`), p.selector("tracer_coverage_ratio", ""))
}

// pastWithin is how long Prometheus may take for one answer.
const pastWithin = 30 * time.Second

// split tells the agents that are to be asked from those that are quiet: of which Prometheus has something, and no finding.
func (p *past) split(ctx context.Context, all []agents.Agent, m *cluster.Map) (asked, quiet []agents.Agent, err error) {
	ctx, cancel := context.WithTimeout(ctx, pastWithin)
	defer cancel()
	known, err := p.client.Query(ctx, p.knownNodes())
	if err != nil {
		return nil, nil, err
	}
	uneasy, err := p.client.Query(ctx, p.uneasyNodes())
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
