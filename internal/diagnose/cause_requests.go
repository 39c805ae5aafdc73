package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// slowServer is a workload of this node that takes long to answer another one.
type slowServer struct {
	*aggregate.Pair                     // who asks and who is asked, as their packets are known by if any were seen
	requests        *aggregate.Requests // of that pair
	held            float64             // of the time at the pod's device, for how long packets are on their way between that and the pod's sockets, seconds (p50)
}

// took is a quantile of the time, in seconds, for which the application has a request.
func (s *slowServer) took(q float64) float64 {
	return max(0, s.requests.Server.Answered.Quantile(q)-s.held)
}

// podAsked is the pod of a pair that was asked last; POD if that is not known.
func podAsked(p *aggregate.Pair) string {
	if p.Ends == nil || p.Ends.Dst.Pod == "" {
		return "POD"
	}
	return shellWord(p.Ends.Dst.Pod)
}

// requestRules find server-slow: pods of this node that take long to answer, by the time between a request and its answer at their devices.
// That is no fault of this pair's network, and may be as it should be: so it is never more than info.
func requestRules(w *window) []Finding {
	slow := w.slowServers()
	if len(slow) == 0 {
		return nil
	}
	pairs := make([]*aggregate.Pair, len(slow))
	for i := range slow {
		pairs[i] = slow[i].Pair
	}
	worst := &slow[0]
	f := Finding{
		Kind: KindDelay, Cause: ServerSlow, Severity: Info, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: worst.Direction,
		Delay: &Delay{P50: new(worst.took(0.5)), P99: new(worst.took(0.99))}, Next: next(ServerSlow, "POD", podAsked(worst.Pair)),
		Confidence: confidence(float64(worst.requests.Server.Timed), 1, w.counts),
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.subject = "the application " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("takes %s (p50) to answer %s, which it spends itself, or waiting for others", seconds(*f.Delay.P50), f.Pairs[0].Src)
	if whom, p50 := w.awaited(worst); whom != "" {
		f.predicate = fmt.Sprintf("takes %s (p50) to answer %s, while it waits %s (p50) for %s", seconds(*f.Delay.P50), f.Pairs[0].Src, seconds(p50), whom)
	}
	for i := range slow[:min(maxPairs, len(slow))] {
		f.Evidence = append(f.Evidence, w.slowness(&slow[i]))
	}
	f.Evidence = append(f.Evidence, w.throttled(f.Pairs)...)
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	return []Finding{f}
}

// slowServers are those of the window, the slowest first.
func (w *window) slowServers() (slow []slowServer) {
	for key, r := range w.requests {
		s := &r.Server
		if key.DstNamespace == "" || !isTimed(s) || s.Answered.Quantile(0.5) < slowAnswer {
			continue
		}
		found := slowServer{w.askedPair(key), r, w.heldAtPod(key)}
		if found.took(0.5) >= slowAnswer {
			slow = append(slow, found)
		}
	}
	slices.SortFunc(slow, func(x, y slowServer) int {
		return cmp.Or(cmp.Compare(y.took(0.5), x.took(0.5)), x.Compare(y.PairKey))
	})
	return slow
}

// askedPair is the pair of the packets that bring requests to a pod of this node; if none were seen, one without any.
func (w *window) askedPair(key aggregate.PairKey) *aggregate.Pair {
	for _, key.Direction = range []journey.Direction{journey.Local, journey.In} {
		if p := w.pair(key); p != nil {
			return p
		}
	}
	return &aggregate.Pair{PairKey: key}
}

// heldAtPod is for how long (p50), in seconds, requests and their answers are held between the pod's device, where its hooks see them, and
// the pod's sockets: in the device's own queue, on the way to the socket, and in the queue at the pod's end.
func (w *window) heldAtPod(key aggregate.PairKey) float64 {
	request := func(s aggregate.StageKey) bool {
		return s.Stage == journey.Queue && s.Device == netdev.PodLabel || s.Stage == journey.Deliver
	}
	answer := func(s aggregate.StageKey) bool { return s.Stage == journey.PodQueue }
	return w.held(key, request, journey.In, journey.Local) + w.held(key.Reverse(), answer, journey.Out, journey.Local)
}

// held is for how long (p50), in seconds, packets of a pair are in some stages, in that direction in which it is longest: those that came
// out, or the oldest that is there yet.
func (w *window) held(key aggregate.PairKey, in func(aggregate.StageKey) bool, directions ...journey.Direction) (longest float64) {
	for _, key.Direction = range directions {
		p := w.pair(key)
		if p == nil {
			continue
		}
		sum, oldest := 0.0, 0.0
		for i := range p.Stages {
			if in(p.Stages[i].StageKey) {
				sum += p.Stages[i].Delay.Quantile(0.5)
			}
		}
		for i := range w.counts.InFlight {
			at := &w.counts.InFlight[i]
			if !at.Stage.Queues() || !in(at.StageKey) {
				continue
			}
			for _, of := range at.Pairs {
				if of.PairKey == key {
					oldest = max(oldest, of.Oldest)
				}
			}
		}
		longest = max(longest, sum, oldest)
	}
	return longest
}

// awaited is for whom a workload waits that is asked, and how long (p50), in seconds: among those that it asks itself, but for who asks it,
// the one that takes longest, if that is half of its own time or more, and no more than twice that: what takes longer has nothing to do
// with it. "" if there is none.
func (w *window) awaited(s *slowServer) (whom string, p50 float64) {
	took := s.took(0.5)
	var longest aggregate.PairKey
	for key, r := range w.requests {
		if key.SrcNamespace != s.DstNamespace || key.SrcWorkload != s.DstWorkload || r.Client.Timed < minCritical {
			continue
		}
		if key.DstNamespace == s.SrcNamespace && key.DstWorkload == s.SrcWorkload {
			continue // they ask one another, of which neither need be because of the other
		}
		p := r.Client.Answered.Quantile(0.5)
		if 2*p < took || p > 2*took || p < p50 || p == p50 && key.Compare(longest) > 0 {
			continue
		}
		longest, p50 = key, p
	}
	if p50 == 0 {
		return "", 0
	}
	return qualified(longest.DstNamespace, longest.DstWorkload), p50
}

// slowness says how long a pair's requests take, and what is known of where.
func (w *window) slowness(s *slowServer) string {
	server, client := &s.requests.Server, &s.requests.Client
	who, whom := qualified(s.SrcNamespace, s.SrcWorkload), qualified(s.DstNamespace, s.DstWorkload)
	about := plural(server.Answered.Count(), "request")
	if server.Timed < server.Answered.Count() {
		about = fmt.Sprintf("about %s, from %s timed", about, group(server.Timed))
	}
	line := fmt.Sprintf("%s → %s: %s (p50), %s (p99) from the last packet of a request to the first of its answer at the pod's device (%s)",
		who, whom, seconds(server.Answered.Quantile(0.5)), seconds(server.Answered.Quantile(0.99)), about)
	if s.held >= heldShare*s.took(0.5) {
		line += fmt.Sprintf(", of which packets are %s between that device and the pod's sockets", seconds(s.held))
	}
	if asked, p50 := w.awaited(s); asked != "" {
		line += fmt.Sprintf("; meanwhile %s waits %s (p50) for %s", whom, seconds(p50), asked)
	}
	if client.Timed >= minSamples {
		line += fmt.Sprintf("; at the client's pod the whole call takes %s (p50)", seconds(client.Answered.Quantile(0.5)))
	}
	return line
}
