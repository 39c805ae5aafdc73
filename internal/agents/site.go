package agents

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"tracer/internal/cluster"
	"tracer/internal/overview"
	"tracer/internal/ui"
)

const (
	// fresh is how long answers of all agents are used again: several pages ask the agents no more than one.
	fresh = 5 * time.Second
	// listFresh is how long the list of agents and addresses is.
	listFresh = 30 * time.Second
	// siteInterval is how often the page asks.
	siteInterval = 10 * time.Second
	// maxPairs is how many pairs an answer has, maxFlows how many flows all nodes together are asked for, and leastFlows one.
	maxPairs   = 400
	maxFlows   = 16000
	leastFlows = 10
)

// Site answers the page of a whole cluster: /v1/cluster by itself, of what all agents show, and /v1/nodes/NODE/… by NODE's agent.
type Site struct {
	cluster *Cluster
	limit   time.Duration // for each agent

	asking sync.Mutex // one asks all agents at a time
	told   told

	mu     sync.Mutex
	all    []Agent
	why    string // there may be others
	known  cluster.Map
	listed time.Time
	relays map[Agent]http.Handler
}

// told is what all agents answered.
type told struct {
	at    time.Time
	seen  []cluster.Seen
	known cluster.Map
	why   string
}

// NewSite answers for a cluster; each agent has so long.
func NewSite(c *Cluster, limit time.Duration) *Site {
	if c.kept == nil {
		c.Keep()
	}
	return &Site{cluster: c, limit: limit, relays: map[Agent]http.Handler{}}
}

// ServeHTTP answers a request of the page.
func (s *Site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/cluster" {
		s.serveCluster(w, r)
		return
	}
	node, rest, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v1/nodes/"), "/")
	if !ok {
		http.NotFound(w, r)
		return
	}
	relay, err := s.relay(r.Context(), node)
	if err != nil {
		refuse(w, http.StatusBadGateway, err)
		return
	}
	inner := r.Clone(r.Context())
	inner.URL = &url.URL{Path: "/v1/" + rest, RawQuery: r.URL.RawQuery}
	relay.ServeHTTP(w, inner)
}

// agents are those of the cluster, as they were lately.
func (s *Site) agents(ctx context.Context) (all []Agent, known cluster.Map, why string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.listed) < listFresh {
		return s.all, s.known, s.why, nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.limit, fmt.Errorf("the API server took more than %v", s.limit))
	defer cancel()
	if s.all, s.why, err = s.cluster.List(ctx); err == nil {
		s.known, err = s.cluster.Map(ctx)
	}
	if err == nil {
		s.known.Services, err = s.cluster.Services(ctx)
	}
	if err != nil {
		return nil, cluster.Map{}, "", err
	}
	s.listed = time.Now()
	for a := range s.relays {
		if !slices.Contains(s.all, a) {
			delete(s.relays, a)
		}
	}
	return s.all, s.known, s.why, nil
}

// relay hands requests to a node's agent.
func (s *Site) relay(ctx context.Context, node string) (http.Handler, error) {
	all, _, _, err := s.agents(ctx)
	if err != nil {
		return nil, err
	}
	at := slices.IndexFunc(all, func(a Agent) bool { return a.Node == node })
	if at < 0 {
		return nil, fmt.Errorf("there is no node %q", node)
	}
	a := all[at]
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.relays[a] == nil {
		s.relays[a] = ui.RelayBy(func(context.Context) (net.Conn, error) { return s.cluster.Connect(a) }, func(err error) error {
			return fmt.Errorf("ask the agent on %s: %w", node, err)
		})
	}
	return s.relays[a], nil
}

// serveCluster answers of all agents.
func (s *Site) serveCluster(w http.ResponseWriter, r *http.Request) {
	filter, err := overview.ParseFilter(r.URL.Query().Get("filter"))
	if err != nil {
		refuse(w, http.StatusBadRequest, fmt.Errorf("parse query: filter: %w", err))
		return
	}
	whole, err := s.Whole(r.Context(), filter)
	if err != nil {
		refuse(w, http.StatusBadGateway, err)
		return
	}
	text, err := json.Marshal(whole)
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text)
}

// Whole is the cluster as all agents show it, with the pairs that a filter takes.
func (s *Site) Whole(ctx context.Context, filter overview.Filter) (cluster.Whole, error) {
	t, err := s.ask(ctx)
	if err != nil {
		return cluster.Whole{}, err
	}
	return cluster.NewWhole(t.seen, t.known, filter, maxPairs, t.why), nil
}

// ask asks all agents, unless they were just now. Filters are no question to them: they do not know what pods elsewhere are called.
func (s *Site) ask(ctx context.Context) (told, error) {
	s.asking.Lock()
	defer s.asking.Unlock()
	if time.Since(s.told.at) < fresh {
		return s.told, nil
	}
	all, known, why, err := s.agents(ctx)
	if err != nil {
		return told{}, err
	}
	t := told{known: known, why: why}
	query := FlowsQuery(siteInterval, min(max(maxFlows/max(1, len(all)), leastFlows), MaxFlows))
	AskFlows(ctx, s.cluster, all, s.limit, query, func(seen cluster.Seen) { t.seen = append(t.seen, seen) })
	slices.SortFunc(t.seen, func(x, y cluster.Seen) int { return strings.Compare(x.Node, y.Node) })
	if ctx.Err() == nil { // else not all were asked
		t.at = time.Now()
		s.told = t
	}
	return t, nil
}

// refuse answers with an error, in the form of the agents' own.
func refuse(w http.ResponseWriter, code int, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": err.Error()}) // a client that is gone needs no answer
}
