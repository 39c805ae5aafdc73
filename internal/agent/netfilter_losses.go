package agent

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/netfilter"
	"tracer/internal/record"
)

const (
	// maxRuledNamespaces bounds the network namespaces whose rules are read, maxLostFlows the flows that are remembered of each,
	// maxKeptRules the rules that a snapshot has.
	maxRuledNamespaces, maxLostFlows, maxKeptRules = 16, 64, 64
	// lostFor is how long after its last loss a namespace's rules are read: as long as a window is, and more.
	lostFor = 20 * time.Second
)

// netfilterLosses are what netfilter lost lately, and what its rules had counted by then: who dropped a packet the kernel does not
// say, but the rule whose counter rises tells.
type netfilterLosses struct {
	own     netns.NsHandle
	reading sync.Mutex // one reading after the other: counters are compared

	mu    sync.Mutex               // guards what follows
	of    map[int]*namespaceLosses // by the index, on this side, of the device of the pod in whose namespace it was; 0: this one
	spent map[int]readingCost      // likewise; outlives the losses
}

// namespaceLosses are those in one network namespace.
type namespaceLosses struct {
	last     time.Duration // when the last packet was lost (CLOCK_MONOTONIC)
	flows    map[lostFlowKey]*lostFlow
	readings []*rulesReading // the oldest first
	unread   error
	netns    uint64 // inode, where it is a pod's and could be entered
}

type lostFlowKey struct {
	ifindex     int // of the device where the packets were seen last
	first, last record.Flow
	queue, out  bool
}

type lostFlow struct {
	packets uint64
	at      time.Duration
}

// rulesReading is a reading of the rules, with what had been lost by then.
type rulesReading struct {
	*netfilter.Reading
	lost map[lostFlowKey]uint64
}

// failed tells that nothing could be read.
func (r *rulesReading) failed() bool { return r.Partial && len(r.Rules) == 0 }

// open takes the calling thread's network namespace for the own one.
func (l *netfilterLosses) open() (err error) {
	l.own, err = netns.Get()
	if err != nil {
		return fmt.Errorf("open the network namespace: %w", err)
	}
	l.of, l.spent = map[int]*namespaceLosses{}, map[int]readingCost{}
	return nil
}

func (l *netfilterLosses) close() {
	if l.of != nil {
		l.own.Close()
	}
}

// add takes from a batch what netfilter lost.
func (l *netfilterLosses) add(batch []record.Record, isPod func(ifindex int) bool) {
	for i := range batch {
		r := &batch[i]
		if r.Kind != record.Dropped || !r.Attributed || r.Len == 0 {
			continue
		}
		if lost, queue := diagnose.NetfilterLost(r.Reason, r.Location); lost {
			l.addOne(r, queue, isPod)
		}
	}
}

func (l *netfilterLosses) addOne(r *record.Record, queue bool, isPod func(ifindex int) bool) {
	n := r.Len
	if r.Hops[n-1].Hook == record.Free {
		n--
	}
	if n == 0 {
		return
	}
	hop := &r.Hops[n-1]
	key := lostFlowKey{ifindex: hop.Ifindex, first: r.First, last: r.Last, queue: queue, out: hop.Hook == record.PodQueue}
	for _, f := range []*record.Flow{&key.first, &key.last} { // of a connection the server's port alone matters
		if f.Source.Port() > f.Destination.Port() {
			f.Source = netip.AddrPortFrom(f.Source.Addr(), 0)
		} else if f.Destination.Port() > f.Source.Port() {
			f.Destination = netip.AddrPortFrom(f.Destination.Addr(), 0)
		}
	}
	pod := 0
	if key.out || hop.Hook == record.Xmit && isPod(hop.Ifindex) {
		pod = hop.Ifindex
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	in := l.of[pod]
	if in == nil {
		if len(l.of) >= maxRuledNamespaces {
			return
		}
		in = &namespaceLosses{flows: map[lostFlowKey]*lostFlow{}}
		l.of[pod] = in
	}
	in.last = r.Time
	f := in.flows[key]
	if f == nil {
		if len(in.flows) >= maxLostFlows {
			return
		}
		f = &lostFlow{}
		in.flows[key] = f
	}
	f.packets, f.at = f.packets+uint64(max(1, r.Weight)), r.Time
}

// due are the namespaces whose rules are to be read now, and forgets those that have lost nothing for a while.
func (l *netfilterLosses) due(now time.Time, clock time.Duration, asked bool) (pods []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pod, n := range l.of {
		for key, f := range n.flows {
			if clock-f.at > lostFor {
				delete(n.flows, key)
			}
		}
		if clock-n.last > lostFor {
			delete(l.of, pod)
			continue
		}
		if l.spent[pod].due(now, asked) {
			pods = append(pods, pod)
		}
	}
	for pod, spent := range l.spent {
		if l.of[pod] == nil && now.Sub(spent.at) > time.Hour {
			delete(l.spent, pod)
		}
	}
	slices.Sort(pods)
	return pods
}

// readRules reads the rules of the namespaces in which netfilter loses packets. asked tells that somebody waits for a diagnosis.
func (a *Agent) readRules(asked bool) {
	l := &a.netfilter
	l.reading.Lock()
	defer l.reading.Unlock()
	for _, pod := range l.due(time.Now(), loader.Monotonic(), asked) {
		reading, inode, err := a.readRulesOf(pod)
		l.keep(pod, reading, inode, err)
	}
}

// readRulesOf reads the rules of a pod's namespace, and its inode, or this one's.
func (a *Agent) readRulesOf(pod int) (reading *netfilter.Reading, inode uint64, err error) {
	if pod == 0 {
		reading, err = netfilter.Read(a.netfilter.own)
		return reading, 0, err
	}
	taken := time.Now()
	ns, err := a.openPodNetns(pod)
	if err != nil {
		return &netfilter.Reading{Taken: taken, Took: time.Since(taken), Partial: true}, 0, err // a search for it costs, too
	}
	defer ns.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(ns), &st); err == nil {
		inode = st.Ino
	}
	reading, err = netfilter.Read(ns)
	return reading, inode, err
}

// keep keeps a reading.
func (l *netfilterLosses) keep(pod int, reading *netfilter.Reading, inode uint64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent[pod] = readingCost{reading.Taken, reading.Took}
	n := l.of[pod]
	if n == nil {
		return
	}
	n.unread, n.netns = err, inode
	next := &rulesReading{reading, make(map[lostFlowKey]uint64, len(n.flows))}
	for key, f := range n.flows {
		next.lost[key] = f.packets
	}
	if len(n.readings) > 0 {
		if next.failed() {
			return
		}
		if n.readings[0].failed() { // and no other came since: it is nothing to compare with
			n.readings = nil
		}
	}
	// A window is compared with the latest reading before it, if there is one.
	for len(n.readings) > 1 && reading.Taken.Sub(n.readings[1].Taken) > lostFor {
		n.readings = n.readings[1:]
	}
	n.readings = append(n.readings, next)
	if len(n.readings) > 2+int(lostFor/readEvery) {
		n.readings = slices.Delete(n.readings, 1, 2)
	}
}

// rulesets are what the rules did, as of the readings that there are.
func (a *Agent) rulesets(devices []netdev.Device, now time.Duration) (found []diagnose.Ruleset) {
	l := &a.netfilter
	own := a.watcher.State().Addresses
	labels := make(map[int]string, len(devices))
	ends := make(map[int]string, len(devices))
	for _, d := range devices {
		labels[d.Index], ends[d.Index] = d.Role.Label(d.Name), d.PodEnd.Label()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for pod, n := range l.of {
		if len(n.readings) == 0 {
			continue
		}
		before, last := n.readings[0], n.readings[len(n.readings)-1]
		set := diagnose.Ruleset{Ifindex: pod, Netns: n.netns, From: before.Taken, Until: last.Taken, Queues: last.Queues}
		if n.unread != nil {
			set.Unread = n.unread.Error()
		}
		for key, f := range n.flows {
			label := labels[key.ifindex]
			if pod != 0 {
				label = ends[pod]
			}
			lost := diagnose.LostFlow{
				Device: label, First: key.first, Last: key.last, Queue: key.queue,
				Source: a.options.Namer.Lookup(key.first.Source.Addr(), now), Dest: a.options.Namer.Lookup(key.last.Destination.Addr(), now),
				ToNode:   pod == 0 && slices.Contains(own, key.last.Destination.Addr()),
				FromNode: key.out || pod == 0 && slices.Contains(own, key.first.Source.Addr()),
				Packets:  f.packets,
			}
			if before != last {
				lost.Packets = last.lost[key] - min(last.lost[key], before.lost[key])
			}
			set.Lost = append(set.Lost, lost)
		}
		set.Rules = keptRules(before, last, &set)
		found = append(found, set)
	}
	slices.SortFunc(found, func(x, y diagnose.Ruleset) int { return x.Ifindex - y.Ifindex })
	return found
}

// keptRules are those that counted something, and of those without a counter the ones that may have taken what was lost.
func keptRules(before, last *rulesReading, set *diagnose.Ruleset) (kept []record.Rule) {
	rules := last.Rules
	if before != last {
		rules = last.Since(before.Reading)
	}
	for i := range rules {
		r := &rules[i]
		rose := r.Counted && r.Packets > 0 && before != last
		named := !r.Counted && (r.Match.Names() || r.VerdictMap != "")
		if rose || named && slices.ContainsFunc(set.Lost, func(f diagnose.LostFlow) bool { return f.MayBe(r, set.Ifindex != 0) }) {
			kept = append(kept, *r)
		}
	}
	slices.SortStableFunc(kept, func(x, y record.Rule) int { return cmp.Compare(y.Packets, x.Packets) })
	return kept[:min(len(kept), maxKeptRules)]
}

// services are those that packets were lost to or that do not answer, with the endpoints that are known of them.
func (a *Agent) services(counts *aggregate.Snapshot) map[string]record.ServiceEndpoints {
	source, ok := a.options.Namer.(endpointSource)
	if !ok {
		return nil
	}
	found := map[string]record.ServiceEndpoints{}
	add := func(service string) {
		if service == "" {
			return
		}
		if e, known := source.Endpoints(service); known {
			found[service] = e
		}
	}
	for i := range counts.Pairs {
		if p := &counts.Pairs[i]; slices.ContainsFunc(p.Drops, func(d aggregate.DropCount) bool { return d.Loss }) {
			add(p.Service)
		}
	}
	for i := range counts.Unanswered {
		add(counts.Unanswered[i].Service)
	}
	return found
}

// endpointSource is a Namer that knows the endpoints of Services.
type endpointSource interface {
	// Endpoints are how many a Service, as namespace/name, has; false if that is not known.
	Endpoints(service string) (record.ServiceEndpoints, bool)
}
