package cluster

import (
	"cmp"
	"net/netip"
	"slices"

	"tracer/internal/journey"
	"tracer/internal/overview"
)

// flows are those of all nodes, each with what every node saw of it.
type flows struct {
	known *Map
	index map[flowKey]int
	all   []flow
}

// flowKey tells flows apart, on whichever node: by the address where a packet came from, and the one where it went in the end.
type flowKey struct{ src, dst, protocol string }

// flow is one of them.
type flow struct {
	src, dst overview.Party // whose it is
	service  string         // by which address it was sent, as a Service's name where that is known
	protocol string
	halves   []half
}

// half is what one node saw.
type half struct {
	node string
	row  *overview.Row
}

// add adds a node's rows by flow.
func (f *flows) add(node string, rows []overview.Row) {
	if f.index == nil {
		f.index = map[flowKey]int{}
	}
	for i := range rows {
		r := &rows[i]
		key := flowKey{r.Src.Address, r.Dst.Address, r.Protocol}
		n, known := f.index[key]
		if !known {
			n = len(f.all)
			f.index[key] = n
			f.all = append(f.all, flow{src: f.known.party(addressOf(r.Src.Address), r.Src), dst: f.known.party(addressOf(r.Dst.Address), r.Dst), protocol: r.Protocol})
		}
		w := &f.all[n]
		if r.Service != "" {
			w.service = r.Service
			if name := f.known.Services[addressOf(r.Service)]; name != "" {
				w.service = name
			}
		}
		w.halves = append(w.halves, half{node, r})
	}
}

// addressOf is that of an address with or without a port.
func addressOf(text string) netip.Addr {
	if a, err := netip.ParseAddrPort(text); err == nil {
		return a.Addr().Unmap()
	}
	a, _ := netip.ParseAddr(text)
	return a.Unmap()
}

// by are the rows of a kind: a flow each, a pair of workloads each, or a Service each.
func (f *flows) by(kind overview.By) []overview.Row {
	type key struct {
		src, dst overview.Party
		service  string
	}
	sums := map[key][]*flow{}
	var keys []key // in the order of the flows, so that rows come in one
	rows := []overview.Row{}
	for i := range f.all {
		w := &f.all[i]
		k := key{src: w.src, dst: w.dst}
		switch kind {
		case overview.ByFlow:
			first := w.halves[0].row
			k.src.Address, k.dst.Address = first.Src.Address, first.Dst.Address
			k.src.Pod, k.dst.Pod = w.pod(func(r *overview.Row) *overview.Party { return &r.Src }), w.pod(func(r *overview.Row) *overview.Party { return &r.Dst })
			k.service = w.protocol
		case overview.ByService:
			k = key{service: w.service}
			if w.service == "" {
				k.dst = w.dst
			}
		}
		if sums[k] == nil {
			keys = append(keys, k)
		}
		sums[k] = append(sums[k], w)
	}
	for _, k := range keys {
		r := rowOf(sums[k])
		r.Src, r.Dst = k.src, k.dst
		switch kind {
		case overview.ByFlow:
			r.Protocol = sums[k][0].protocol
		case overview.ByService:
			pairs := map[[2]overview.Party]bool{}
			for _, w := range sums[k] {
				pairs[[2]overview.Party{w.src, w.dst}] = true
			}
			r.Pairs = len(pairs)
		}
		rows = append(rows, r)
	}
	return rows
}

// pod is an end's, by the node that knows it.
func (w *flow) pod(of func(*overview.Row) *overview.Party) string {
	for _, h := range w.halves {
		if p := of(h.row); p.Pod != "" {
			return p.Pod
		}
	}
	return ""
}

// both is the direction of a row that the nodes of both ends saw.
const both journey.Direction = "both"

// rowOf is one row of some flows. Times of nodes are not added, as a median of sums is not a sum of medians: the path's are those of the
// node where its p99 is the longest.
func rowOf(some []*flow) overview.Row {
	r := overview.Row{Stages: []overview.Stage{}}
	senders, receivers := []string{}, []string{}
	places := map[overview.Place]int{}
	reasons := map[string]uint64{}
	var rtt, rttPackets float64
	for i, w := range some {
		if i == 0 {
			r.Service = w.service
		} else if r.Service != w.service {
			r.Service = ""
		}
		var packets, bits float64 // as the node has it that saw most of them
		for _, h := range w.halves {
			packets, bits = max(packets, h.row.PacketsPerSecond), max(bits, h.row.BitsPerSecond)
			nodes := &senders
			if h.row.Direction == journey.In {
				nodes = &receivers
			}
			if !slices.Contains(*nodes, h.node) {
				*nodes = append(*nodes, h.node)
			}
			addHalf(&r, &h, places)
			reasons[h.row.Drops.Reason] += h.row.Drops.Packets
			if t := h.row.TCP; t != nil && t.RTTMean != nil {
				rtt, rttPackets = rtt+*t.RTTMean*h.row.PacketsPerSecond, rttPackets+h.row.PacketsPerSecond
			}
		}
		r.PacketsPerSecond += packets
		r.BitsPerSecond += bits
	}
	if r.TCP != nil && rttPackets > 0 {
		mean := rtt / rttPackets
		r.TCP.RTTMean = &mean
	}
	for reason, n := range reasons {
		if most := reasons[r.Drops.Reason]; n > most || n == most && n > 0 && reason < r.Drops.Reason {
			r.Drops.Reason = reason
		}
	}
	if r.Service != "" {
		r.EndpointOf = ""
	}
	r.Direction = direction(some, senders, receivers)
	slices.Sort(senders)
	slices.Sort(receivers)
	r.Nodes = senders
	for _, n := range receivers {
		if !slices.Contains(r.Nodes, n) {
			r.Nodes = append(r.Nodes, n)
		}
	}
	share(&r, senders)
	return r
}

// direction says which ends' nodes saw the packets.
func direction(some []*flow, senders, receivers []string) journey.Direction {
	switch {
	case len(senders) > 0 && len(receivers) > 0:
		return both
	case len(receivers) > 0:
		return journey.In
	}
	for _, w := range some {
		if w.halves[0].row.Direction != journey.Local {
			return w.halves[0].row.Direction
		}
	}
	return journey.Local
}

// addHalf adds what a node saw to a row.
func addHalf(r *overview.Row, h *half, places map[overview.Place]int) {
	r.EndpointOf = cmp.Or(r.EndpointOf, h.row.EndpointOf)
	if n := h.row.NoAnswer; n != nil && (r.NoAnswer == nil || n.Seconds > r.NoAnswer.Seconds) {
		r.NoAnswer = n
	}
	if p := h.row.Path; p != nil && (r.Path == nil || p.P99 > r.Path.P99) {
		r.Path = p
	}
	r.Drops.Packets += h.row.Drops.Packets
	r.Drops.PerSecond += h.row.Drops.PerSecond
	r.Pain += h.row.Pain
	r.InFlight += h.row.InFlight
	r.OldestSeconds = max(r.OldestSeconds, h.row.OldestSeconds)
	if t := h.row.TCP; t != nil {
		if r.TCP == nil {
			r.TCP = &overview.TCP{}
		}
		r.TCP.Retransmits += t.Retransmits
		r.TCP.PerSecond += t.PerSecond
	}
	for i := range h.row.Stages {
		s := h.row.Stages[i]
		s.Device = at(h.node, s.Device)
		n, known := places[s.Place]
		if !known {
			places[s.Place] = len(r.Stages)
			r.Stages = append(r.Stages, s)
			continue
		}
		sum := &r.Stages[n]
		if all := sum.Packets + s.Packets; all > 0 {
			sum.Mean = (sum.Mean*float64(sum.Packets) + s.Mean*float64(s.Packets)) / float64(all)
		}
		sum.Packets += s.Packets
		sum.Slow = sum.Slow || s.Slow
		sum.InFlight += s.InFlight
		sum.Oldest = max(sum.Oldest, s.Oldest)
	}
}

// share gives each stage its share of the time, the senders' stages first, and finds the worst.
func share(r *overview.Row, senders []string) {
	rank := func(s *overview.Stage) int {
		if slices.ContainsFunc(senders, func(node string) bool { return len(s.Device) > len(node) && s.Device[:len(node)+1] == node+":" }) {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(r.Stages, func(x, y overview.Stage) int { return cmp.Compare(rank(&x), rank(&y)) })
	spent := func(s *overview.Stage) float64 { return s.Mean*float64(s.Packets) + s.Oldest*s.InFlight/2 }
	var all, most float64
	for i := range r.Stages {
		s := &r.Stages[i]
		all += spent(s)
		if spent(s) > most {
			most, r.Worst = spent(s), &s.Place
		}
	}
	for i := range r.Stages {
		r.Stages[i].Share = 0
		if all > 0 {
			r.Stages[i].Share = spent(&r.Stages[i]) / all
		}
	}
}
