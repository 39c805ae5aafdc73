package identity

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"tracer/internal/aggregate"
)

// The workloads of peers that are no pods.
const (
	nodeWorkload     = "_node"
	externalWorkload = "_external"
	unknownWorkload  = "_unknown"
)

const (
	// MaxJitter bounds the random pause before the first request: the agents of many nodes may start at once.
	MaxJitter = 3 * time.Second
	// ahead is how long before its event an address is taken to have been its holder's, where nothing tells the time.
	ahead = 5 * time.Second
	// manyPods is where --identity-scope=cluster becomes dear.
	manyPods = 10_000
	// keepEvery is how often what is known is written down if it has changed, and old holders are forgotten.
	keepEvery = 30 * time.Second

	// Who claims a node's address: pods, by what they say of their node, and pods of the node that are behind Services.
	hostUID       = "host"
	hostBehindUID = "host behind a Service"
)

// Scope says whose pods are known.
type Scope string

// The scopes.
const (
	NodeScope    Scope = "node"    // this node's; others by the Services they are behind
	ClusterScope Scope = "cluster" // all
)

// KubernetesOptions are those of a Kubernetes source. Config and Node are required.
type KubernetesOptions struct {
	Config   *rest.Config
	Node     string // this node's name in the cluster
	Scope    Scope  // NodeScope if empty
	Networks *Networks
	StateDir string               // where what is known is kept for the next start; "" for nowhere
	Jitter   time.Duration        // at most so much pause before the first request
	Clock    func() time.Duration // CLOCK_MONOTONIC, as packets' times
	Now      func() time.Time     // time.Now if nil
	Log      *slog.Logger         // slog.Default() if nil
}

// Kubernetes names addresses by what an API server tells. Where it cannot be reached the names are those known last.
type Kubernetes struct {
	options  KubernetesOptions
	log      *slog.Logger
	holdings holdings
	nodes    atomic.Pointer[Nodes]

	pods, services, slices watcher
	hostPods               map[netip.Addr]int    // pods on the node of that address; by the pods' watcher alone
	backends               map[claimKey][]string // by the slices' watcher alone
	behind                 map[netip.Addr]int    // backends of that address; by the slices' watcher alone
	warned                 bool

	mu      sync.Mutex // guards strings
	strings map[string]string

	keeping sync.Mutex // guards keptAt
	keptAt  uint64     // the holdings' version that was written down last

	misses, conflicts atomic.Uint64
	stale             atomic.Bool
}

var _ aggregate.VersionedNamer = (*Kubernetes)(nil)

// NewKubernetes returns a source that knows what an earlier one kept. It asks nobody; Run does.
func NewKubernetes(o KubernetesOptions) (*Kubernetes, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	switch o.Scope {
	case "":
		o.Scope = NodeScope
	case NodeScope, ClusterScope:
	default:
		return nil, fmt.Errorf("identity scope %q: choose node or cluster", o.Scope)
	}
	k := &Kubernetes{
		options: o, log: o.Log, hostPods: map[netip.Addr]int{}, backends: map[claimKey][]string{}, behind: map[netip.Addr]int{},
		strings: map[string]string{},
	}
	transport, err := httpClient(o.Config, answerWithin)
	if err != nil {
		return nil, fmt.Errorf("prepare to ask the API server: %w", err)
	}
	if err := k.prepare(transport); err != nil {
		return nil, err
	}
	k.restore()
	return k, nil
}

func (k *Kubernetes) prepare(transport *http.Client) error {
	k.pods = watcher{resource: podResource(), decode: decodePod, strip: k.stripPod, changed: k.podChanged}
	k.services = watcher{resource: serviceResource(), decode: decodeService, strip: k.stripService, changed: k.serviceChanged}
	k.slices = watcher{resource: endpointSliceResource(), decode: decodeSlice, strip: k.stripSlice, changed: k.sliceChanged}
	if k.options.Scope == NodeScope {
		k.pods.fields = fields.OneTermEqualSelector("spec.nodeName", k.options.Node)
	}
	for _, w := range k.watchers() {
		client, err := w.resource.client(k.options.Config, transport)
		if err != nil {
			return fmt.Errorf("prepare to watch %s: %w", w.name, err)
		}
		w.client, w.log, w.replaced = client, k.log, func() { k.listed(w) }
	}
	return nil
}

// watchers are those that run: who knows all pods needs nobody to say which are behind Services.
func (k *Kubernetes) watchers() []*watcher {
	if k.options.Scope == ClusterScope {
		return []*watcher{&k.pods, &k.services}
	}
	return []*watcher{&k.pods, &k.services, &k.slices}
}

// Run keeps the names current until ctx ends.
func (k *Kubernetes) Run(ctx context.Context) error {
	if k.options.Jitter > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(rand.N(k.options.Jitter)):
		}
	}
	var group errgroup.Group
	for _, w := range k.watchers() {
		group.Go(func() error { w.run(ctx); return nil })
	}
	group.Go(func() error { return k.upkeep(ctx) })
	return group.Wait()
}

// upkeep forgets and writes down.
func (k *Kubernetes) upkeep(ctx context.Context) error {
	ticker := time.NewTicker(keepEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.keep()
			return nil
		case <-ticker.C:
			k.holdings.forget(k.options.Clock())
			k.readNodes()
			k.keep()
		}
	}
}

// listed is called when all objects of a kind have been told.
func (k *Kubernetes) listed(w *watcher) {
	if w == &k.pods {
		switch n := len(w.known); {
		case n == 0 && k.options.Scope == NodeScope:
			k.log.Warn("the API server has no pod on this node; is its name right? Give it with --node-name", "node", k.options.Node)
		case n > manyPods && !k.warned:
			k.warned = true
			k.log.Warn("all pods of a large cluster are watched; --identity-scope=node asks far less of the API server", "pods", n)
		}
	}
	for _, w := range k.watchers() {
		if !w.synced.Load() {
			return
		}
	}
	if k.stale.CompareAndSwap(true, false) {
		k.log.Info("the API server answers; names are current again")
	}
	k.dropStale()
	k.keep()
}

// since is when an address that comes with an event was its holder's at the earliest, if nothing tells. What is there
// at the first list was there before us.
func (k *Kubernetes) since(w *watcher, at time.Duration) time.Duration {
	if !w.synced.Load() {
		return 0
	}
	return max(0, at-ahead)
}

// monotonic is the packets' time of a time of day.
func (k *Kubernetes) monotonic(t time.Time) time.Duration {
	return max(0, k.options.Clock()-k.options.Now().Sub(t))
}

// intern returns a copy of s that is shared: namespaces, workloads and nodes are few. A decoded object's strings may
// hold more memory than they show.
func (k *Kubernetes) intern(s string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if known, ok := k.strings[s]; ok {
		return known
	}
	if len(k.strings) >= 1<<16 {
		clear(k.strings)
	}
	k.strings[s] = s
	return s
}

// Lookup names who had the address at that time. It neither blocks for long nor allocates.
func (k *Kubernetes) Lookup(address netip.Addr, at time.Duration) aggregate.Identity {
	address = address.Unmap().WithZone("")
	id, claimed := k.holdings.at(address, at)
	switch {
	case id != nil:
		return *id
	case claimed:
		k.misses.Add(1)
		return aggregate.Identity{}
	}
	if nodes := k.nodes.Load(); nodes != nil && nodes.addresses[address] {
		return aggregate.Identity{Workload: nodeWorkload}
	}
	if id := k.options.Networks.find(address); id != nil {
		return *id
	}
	if address.IsLinkLocalUnicast() || address.IsMulticast() ||
		k.options.Scope == NodeScope && (address.IsPrivate() || shared.Contains(address)) { // a pod elsewhere, for all we know
		return aggregate.Identity{Workload: unknownWorkload}
	}
	return aggregate.Identity{Workload: externalWorkload}
}

// Version is that of all that Lookup goes by.
func (k *Kubernetes) Version() (version uint64, since time.Duration) {
	version = k.holdings.version.Load() + 1
	return version, time.Duration(k.holdings.since.Load())
}

// shared is what some clusters take for pods (RFC 6598).
var shared = netip.MustParsePrefix("100.64.0.0/10")

// Resolved tells whether a pod, and which one, is known to have had the address at that time.
func (k *Kubernetes) Resolved(address netip.Addr, at time.Duration) bool {
	id, _ := k.holdings.at(address.Unmap().WithZone(""), at)
	return id != nil
}

// Changed tells that the address went from one pod's device on this node to another, or that its device is gone: the
// kernel knows before the API server.
func (k *Kubernetes) Changed(address netip.Addr, at time.Duration) {
	k.holdings.changed(address.Unmap().WithZone(""), at)
}

// LocalPods are the addresses that this node's pods have now.
func (k *Kubernetes) LocalPods() []netip.Addr {
	var list []netip.Addr
	k.holdings.held(func(a netip.Addr, h holder) {
		if h.local {
			list = append(list, a)
		}
	})
	return list
}

// KubernetesStatus is how the names stand.
type KubernetesStatus struct {
	Scope     Scope             `json:"scope"`
	Synced    map[string]bool   `json:"synced"`    // by resource: all of it has been listed
	Errors    map[string]uint64 `json:"errors"`    // by resource: requests that failed
	Conflicts uint64            `json:"conflicts"` // addresses claimed by two pods at once
	Stale     bool              `json:"stale"`     // names are those of an earlier run, since the API server has not answered yet
}

// Status is how the names stand.
func (k *Kubernetes) Status() KubernetesStatus {
	s := KubernetesStatus{
		Scope: k.options.Scope, Synced: map[string]bool{}, Errors: map[string]uint64{},
		Conflicts: k.conflicts.Load(), Stale: k.stale.Load(),
	}
	for _, w := range k.watchers() {
		s.Synced[w.name], s.Errors[w.name] = w.synced.Load(), w.errors.Load()
	}
	return s
}

// Misses is how many look-ups found nobody though the address is somebody's.
func (k *Kubernetes) Misses() uint64 { return k.misses.Load() }
