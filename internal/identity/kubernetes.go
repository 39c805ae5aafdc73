package identity

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/rest"

	"tracer/internal/aggregate"
)

const (
	// MaxJitter bounds the random pause before the first request: the agents of many nodes may start at once.
	MaxJitter = 3 * time.Second
	// assumedLag is how long before its event an owner is taken to have got an address, where nothing tells the time.
	assumedLag = 5 * time.Second
	// manyPods is the size of a cluster from which on --identity-scope=cluster is expensive.
	manyPods = 10_000
	// maintainEvery is how often the cache file is saved if anything has changed, and old owners are removed.
	maintainEvery = 30 * time.Second

	// The owners of a node's address: hostUID if a pod's status has it, hostEndpointUID if an EndpointSlice has it.
	hostUID         = "host"
	hostEndpointUID = "host behind a Service"
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
	PodUID   string // of the pod of this process; "" if it is in none
	Scope    Scope  // NodeScope if empty
	Networks *Networks
	StateDir string               // where the cache file is; "" for none
	Jitter   time.Duration        // the longest pause before the first request
	Clock    func() time.Duration // CLOCK_MONOTONIC, as packets' times
	Now      func() time.Time     // time.Now if nil
	Log      *slog.Logger         // slog.Default() if nil
}

// Kubernetes names addresses by what the API server says of pods, Services and EndpointSlices. While it cannot be reached
// the names stay as they were last known. All methods may be called by many goroutines at once.
type Kubernetes struct {
	options KubernetesOptions
	log     *slog.Logger
	owners  ownerTable
	nodes   atomic.Pointer[Nodes]

	pods, services, slices informer
	ownSet                 atomic.Pointer[string]

	// Of the pods' informer alone.
	hostPods map[netip.Addr]int // how many pods are on the node of that address
	warned   bool               // that the cluster is large

	// Of the slices' informer alone.
	endpoints     endpointCounts
	endpointIndex *endpointIndex

	cacheMu sync.Mutex // guards cache
	cache   cacheState

	listed            sync.Once
	misses, conflicts atomic.Uint64
	stale             atomic.Bool
}

var (
	_ aggregate.VersionedNamer = (*Kubernetes)(nil)
	_ aggregate.EndpointNamer  = (*Kubernetes)(nil)
)

// NewKubernetes returns a source that knows what an earlier one saved. It makes no request; Run does.
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
		options: o, log: o.Log, hostPods: map[netip.Addr]int{},
		endpoints: endpointCounts{of: map[string]serviceEndpoints{}}, endpointIndex: newEndpointIndex(),
	}
	k.owners.index = k.endpointIndex
	transport, err := httpClient(o.Config, responseTimeout)
	if err != nil {
		return nil, fmt.Errorf("make a client for the API server: %w", err)
	}
	if err := k.prepare(transport); err != nil {
		return nil, err
	}
	k.loadCache()
	return k, nil
}

// OwnSet is the UID of the DaemonSet that runs this process: all its pods know it, and who may not read them does not. "" while it is not
// known.
func (k *Kubernetes) OwnSet() string {
	if uid := k.ownSet.Load(); uid != nil {
		return *uid
	}
	return ""
}

func (k *Kubernetes) prepare(transport *http.Client) error {
	k.pods = informer{resource: podResource(), decode: decodePod, strip: k.stripPod, onChange: k.podChanged}
	k.services = informer{resource: serviceResource(), decode: decodeService, strip: k.stripService, onChange: k.serviceChanged}
	k.slices = informer{resource: endpointSliceResource(), decode: decodeSlice, strip: k.stripSlice, onChange: k.sliceChanged}
	if k.options.Scope == NodeScope {
		k.pods.fields = fields.OneTermEqualSelector("spec.nodeName", k.options.Node)
	}
	for _, i := range k.informers() {
		client, err := i.resource.client(k.options.Config, transport)
		if err != nil {
			return fmt.Errorf("make a client for %s: %w", i.name, err)
		}
		i.client, i.log, i.onReplace = client, k.log, func() { k.onReplace(i) }
	}
	return nil
}

// informers are those that run. With all pods known, EndpointSlices add nothing.
func (k *Kubernetes) informers() []*informer {
	if k.options.Scope == ClusterScope {
		return []*informer{&k.pods, &k.services}
	}
	return []*informer{&k.pods, &k.services, &k.slices}
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
	for _, i := range k.informers() {
		group.Go(func() error { i.run(ctx); return nil })
	}
	group.Go(func() error { return k.maintain(ctx) })
	return group.Wait()
}

// maintain removes what is old, reads the nodes' addresses anew and saves the cache file, until ctx ends.
func (k *Kubernetes) maintain(ctx context.Context) error {
	ticker := time.NewTicker(maintainEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			k.saveCache(true) // for any version of this program: earlier ones know of no file of changes
			return nil
		case <-ticker.C:
			k.owners.expire(k.options.Clock())
			k.readNodes()
			k.saveCache(false)
		}
	}
}

// onReplace is called after an informer has got the list of all its objects.
func (k *Kubernetes) onReplace(i *informer) {
	if i == &k.pods {
		switch n := len(i.store); {
		case n == 0 && k.options.Scope == NodeScope:
			k.log.Warn("the API server has no pod on this node; is its name right? Give it with --node-name", "node", k.options.Node)
		case n > manyPods && !k.warned:
			k.warned = true
			k.log.Warn("all pods of a large cluster are watched; --identity-scope=node asks far less of the API server", "pods", n)
		}
	}
	for _, i := range k.informers() {
		if !i.synced.Load() {
			return
		}
	}
	if k.stale.CompareAndSwap(true, false) {
		k.log.Info("the API server answers; names are current again")
	}
	k.dropStale()
	k.saveCache(false)
	k.listed.Do(debug.FreeOSMemory) // what the first lists took while they were read, and the names of an earlier run
}

// ownedSince is the earliest time at which an owner may have got an address that comes with an event at that time, where
// nothing tells. What the first list has was there before us.
func (k *Kubernetes) ownedSince(i *informer, at time.Duration) time.Duration {
	if !i.synced.Load() {
		return 0
	}
	return max(0, at-assumedLag)
}

// monotonic converts a time of day to CLOCK_MONOTONIC, the time of packets.
func (k *Kubernetes) monotonic(t time.Time) time.Duration {
	return max(0, k.options.Clock()-k.options.Now().Sub(t))
}
