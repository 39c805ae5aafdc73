package diagnose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// Checked is what was measured on this node of the packets between two workloads, both ways. A verdict stands on it.
type Checked struct {
	Pair                           // Src is the client, as far as ports tell
	There        uint64            `json:"packets_there"` // packets from Src to Dst
	Back         uint64            `json:"packets_back"`
	Lost         uint64            `json:"lost"`                   // packets, both ways, on this node
	Resent       *uint64           `json:"resent"`                 // segments that TCP has sent again, from ends on this node; null if none of its connections is known
	Acknowledged uint64            `json:"acknowledged"`           // segments, as TCP says
	P99There     *float64          `json:"p99_there_seconds"`      // of their time on this node; null if it is not known
	P99Back      *float64          `json:"p99_back_seconds"`       // likewise
	RoundTrip    *float64          `json:"round_trip_p50_seconds"` // TCP's; null if none was measured
	Direction    journey.Direction `json:"direction"`              // of what goes from Src to Dst
	Device       string            `json:"device"`                 // by which packets leave this node or come; "" if they do neither
	Peer         string            `json:"peer"`                   // the one of the two that is on another node of the cluster; "" if none is
	PeerNode     string            `json:"peer_node"`              // that node; "" if it is not known
}

// maxChecked is how many of them a report names, those between pods with most packets first.
const maxChecked = 10

// checked are the pairs with an end at a pod, both ways in one: the busiest ones, and how many there are. Those of the node itself
// come last: kubelet's probes say less than what pods send.
func (w *window) checked() ([]Checked, int) {
	var busiest []*aggregate.Pair
	total := 0
	compare := func(x, y *aggregate.Pair) int {
		return cmp.Or(cmp.Compare(ofNode(x), ofNode(y)), cmp.Compare(y.Packets, x.Packets))
	}
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.Packets == 0 && p.TCP == nil && len(p.Drops) == 0 || !involvesPod(&p.PairKey) || p.SrcWorkload == aggregate.OtherWorkload {
			continue
		}
		if isLow(&p.PairKey) || w.reverse(p) == nil {
			total++
		}
		// Enough for both ways of each, here and elsewhere.
		if len(busiest) == 6*maxChecked {
			if compare(p, busiest[len(busiest)-1]) >= 0 {
				continue
			}
			busiest = busiest[:len(busiest)-1]
		}
		at, _ := slices.BinarySearchFunc(busiest, p, compare)
		busiest = slices.Insert(busiest, at, p)
	}
	found := []Checked{}
	told := make(map[aggregate.PairKey]bool)
	for _, p := range busiest {
		if key := lowKey(p.PairKey); !told[key] && len(found) < maxChecked {
			told[key] = true
			found = append(found, w.sumUp(w.bothWays(key)))
		}
	}
	return found, max(total, len(found))
}

// ofNode is 1 for what the node itself sends or gets.
func ofNode(p *aggregate.Pair) int {
	if p.SrcWorkload == aggregate.NodeWorkload || p.DstWorkload == aggregate.NodeWorkload {
		return 1
	}
	return 0
}

// isLow tells whether of a pair and what comes back it is the one that stands for both.
func isLow(k *aggregate.PairKey) bool {
	return cmp.Or(cmp.Compare(k.SrcWorkload, k.DstWorkload), cmp.Compare(k.SrcNamespace, k.DstNamespace)) < 0 ||
		k.SrcWorkload == k.DstWorkload && k.SrcNamespace == k.DstNamespace && k.Direction != journey.In
}

// lowKey is the one that stands for both ways, whatever the direction.
func lowKey(k aggregate.PairKey) aggregate.PairKey {
	if !isLow(&k) {
		k = k.Reverse()
	}
	k.Direction = journey.Out
	return k
}

// bothWays are the pairs of two workloads.
type bothWays struct{ there, back []*aggregate.Pair }

// bothWays are all pairs of two workloads, what leaves first: if ports do not tell, the client is likely to be here.
func (w *window) bothWays(key aggregate.PairKey) *bothWays {
	both := &bothWays{}
	back := key.Reverse()
	for _, direction := range []journey.Direction{journey.Out, journey.Local, journey.In, ""} { // of a drop it may not be known
		key.Direction, back.Direction = direction, direction
		if p := w.pair(key); p != nil {
			both.add(p)
		}
		if p := w.pair(back); p != nil && key != back {
			both.add(p)
		}
	}
	return both
}

// add puts a pair to those of its way. There is whatever the first one is.
func (b *bothWays) add(p *aggregate.Pair) {
	switch {
	case len(b.there) == 0:
		b.there = append(b.there, p)
	case sameWay(b.there[0], p):
		b.there = append(b.there, p)
	default:
		b.back = append(b.back, p)
	}
}

// sameWay tells whether packets of two pairs of the same two workloads go the same way. Between pods of one workload the direction tells.
func sameWay(x, y *aggregate.Pair) bool {
	if x.SrcNamespace == x.DstNamespace && x.SrcWorkload == x.DstWorkload {
		return x.Direction == y.Direction
	}
	return x.SrcNamespace == y.SrcNamespace && x.SrcWorkload == y.SrcWorkload
}

// fromServer tells whether a pair's packets come from the server: from the lower port, if ports are known.
func fromServer(pairs []*aggregate.Pair) (server, known bool) {
	for _, p := range pairs {
		if p.Service != "" || p.EndpointOf != "" {
			return false, true
		}
		if e := p.Ends; e != nil && e.Protocol.Ports() && e.Source.Port() != e.Destination.Port() {
			return e.Source.Port() < e.Destination.Port(), true
		}
	}
	return false, false
}

// sumUp says what was measured of both ways.
func (w *window) sumUp(b *bothWays) Checked {
	there, back := b.there, b.back
	server, known := fromServer(there)
	if !known {
		client, knownBack := fromServer(back)
		server, known = !client, knownBack
	}
	if known && server || !known && there[0].Direction == journey.In && len(back) > 0 {
		there, back = back, there
	}
	if len(there) == 0 { // nothing of the client's was seen
		reversed := *back[0]
		reversed.PairKey = reversed.Reverse()
		reversed.Packets, reversed.Path, reversed.TCP, reversed.Drops, reversed.Ends = 0, hist.Histogram{}, nil, nil, nil
		there = []*aggregate.Pair{&reversed}
	}
	names, _ := pairNames(there)
	p := Checked{Pair: names[0], Direction: there[0].Direction}
	for _, pair := range there { // replicas may be here and elsewhere: the way out is what matters then
		if (pair.Direction == journey.Out || pair.Direction == journey.In) && p.Direction != journey.Out {
			p.Direction = pair.Direction
		}
	}
	var rtt hist.Histogram
	p.There, p.P99There = p.sum(there, &rtt)
	p.Back, p.P99Back = p.sum(back, &rtt)
	if rtt.Count() > 0 {
		p.RoundTrip = new(rtt.Quantile(0.5))
	}
	for _, pair := range slices.Concat(there, back) {
		w.placePeer(&p, pair)
	}
	if p.Direction != journey.Local && p.Peer == "" {
		p.Peer = w.peerOf(&there[0].PairKey)
	}
	return p
}

// sum adds what was lost and sent again, and TCP's round trips to rtt; it returns how many packets there were, and the p99 of their time
// on this node.
func (p *Checked) sum(pairs []*aggregate.Pair, rtt *hist.Histogram) (n uint64, p99 *float64) {
	var packets float64
	var times hist.Histogram
	for _, pair := range pairs {
		packets += pair.Packets
		times.Merge(&pair.Path)
		for _, d := range pair.Drops {
			if d.Loss {
				p.Lost += d.Packets
			}
		}
		if t := pair.TCP; t != nil {
			if p.Resent == nil {
				p.Resent = new(uint64)
			}
			*p.Resent += t.Retransmits
			p.Acknowledged += t.Delivered
			rtt.Merge(&t.RTT)
		}
	}
	if times.Count() > 0 {
		p99 = new(times.Quantile(0.99))
	}
	return uint64(packets), p99
}

// placePeer learns from a pair by which device packets leave this node or come, and where the peer is.
func (w *window) placePeer(p *Checked, pair *aggregate.Pair) {
	e := pair.Ends
	if e == nil || pair.Direction == journey.Local {
		return
	}
	device, peer := e.To, e.Dst
	if pair.Direction == journey.In {
		device, peer = e.From, e.Src
	}
	if d := w.device(device); d != nil && d.Role.LeadsOut() && p.Device == "" {
		p.Device = d.Name
	}
	if p.Peer == "" && inCluster(peer.Namespace, peer.Workload) && peer.Namespace != "" {
		p.Peer, p.PeerNode = qualified(peer.Namespace, peer.Workload), peer.Node
	}
}

// peerOf is the workload at the pair's end that is on another node; "" if that is none of the cluster's.
func (w *window) peerOf(k *aggregate.PairKey) string {
	switch {
	case k.Direction == journey.Out && k.DstNamespace != "" && k.DstWorkload != aggregate.UnknownWorkload:
		return qualified(k.DstNamespace, k.DstWorkload)
	case k.Direction == journey.In && k.SrcNamespace != "" && k.SrcWorkload != aggregate.UnknownWorkload:
		return qualified(k.SrcNamespace, k.SrcWorkload)
	}
	return ""
}

// device is the one of that index; nil if there is none.
func (w *window) device(index int) *netdev.Device {
	at := slices.IndexFunc(w.to.Devices, func(d netdev.Device) bool { return d.Index == index })
	if index == 0 || at < 0 {
		return nil
	}
	return &w.to.Devices[at]
}

// uplink is the device by which packets leave this node, if several do the one that has sent most; "" if none is known.
func (w *window) uplink() string {
	var best *netdev.Device
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		if d.Role == netdev.RoleUplink && (best == nil || d.Leaves && !best.Leaves || d.Leaves == best.Leaves && d.Traffic.TxPackets > best.Traffic.TxPackets) {
			best = d
		}
	}
	if best == nil {
		return ""
	}
	return best.Name
}

// MarshalJSON writes null for what is not known or not there.
func (p Checked) MarshalJSON() ([]byte, error) {
	type plain Checked // without this method
	return json.Marshal(struct {
		plain
		Direction *string `json:"direction"`
		Device    *string `json:"device"`
		Peer      *string `json:"peer"`
		PeerNode  *string `json:"peer_node"`
	}{plain(p), known(string(p.Direction)), known(p.Device), known(p.Peer), known(p.PeerNode)})
}

// Silent tells whether packets went and none came back. What a node's own sockets send or get is not seen there.
func (p *Checked) Silent() bool {
	return p.There >= minCritical && p.Back+p.Acknowledged == 0 && p.Src != aggregate.NodeWorkload && p.Dst != aggregate.NodeWorkload
}

// peer names the node where the rest of the way can be asked; "" if there is none.
func (p *Checked) peer() string {
	switch {
	case p.Peer == "":
		return ""
	case p.PeerNode == "":
		return "the node of " + p.Peer
	}
	return p.PeerNode + ", where " + p.Peer + " runs"
}

// Sentence says what was measured.
func (p *Checked) Sentence() string {
	by := ""
	if p.Device != "" {
		by = " by " + p.Device
	}
	var text string
	switch p.Direction {
	case journey.Out:
		text = fmt.Sprintf("%s left%s, %s came back", packets(p.There), by, group(p.Back))
	case journey.In:
		text = fmt.Sprintf("%s came%s, %s went back", packets(p.There), by, group(p.Back))
	case journey.Local:
		text = fmt.Sprintf("%s there, %s back, on this node alone", packets(p.There), group(p.Back))
	default:
		text = fmt.Sprintf("%s there, %s back", packets(p.There), group(p.Back))
	}
	if p.Back == 0 && p.Acknowledged > 0 {
		text += fmt.Sprintf(" by a way that is seen, and TCP says that %s were acknowledged", plural(p.Acknowledged, "segment"))
	}
	text += fmt.Sprintf("; %s lost on this node", group(p.Lost))
	if p.Resent != nil {
		text += fmt.Sprintf(", %s sent again by TCP", group(*p.Resent))
	}
	switch {
	case p.P99There != nil && p.P99Back != nil:
		text += fmt.Sprintf("; p99 on this node %s there, %s back", seconds(*p.P99There), seconds(*p.P99Back))
	case p.P99There != nil:
		text += "; p99 on this node " + seconds(*p.P99There)
	case p.P99Back != nil:
		text += fmt.Sprintf("; p99 on this node %s back", seconds(*p.P99Back))
	}
	if p.RoundTrip != nil {
		text += fmt.Sprintf("; round trip %s (p50)", seconds(*p.RoundTrip))
	}
	return p.Src + " → " + p.Dst + ": " + text
}
