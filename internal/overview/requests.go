package overview

import "tracer/internal/aggregate"

// Requests are what a row's src has asked its dst, timed at the devices of their pods on this node.
type Requests struct {
	PerSecond  float64 `json:"per_second"`        // answered; as the client's side counts them, if that is here
	Client     *Delay  `json:"client,omitempty"`  // the whole remote call; nil if no pod that asks is here
	Server     *Delay  `json:"server,omitempty"`  // the time that the pod took that was asked; nil if that is not here
	Connect    *Delay  `json:"connect,omitempty"` // SYN to SYN-ACK, as the client's side sees it
	Unanswered uint64  `json:"unanswered"`        // as the client's side counts them, if that is here
	// Here is how much of a request packets of both ways spend on this node between the devices at which it is timed, in seconds: the p50
	// of each, and no more than the client has more than the server.
	Here float64 `json:"here_seconds"`
}

// Rest is what of a request, by its p50, was spent neither at the server, as far as that is known, nor on this node, in seconds. false if the
// client is not here.
func (r *Requests) Rest() (float64, bool) {
	if r == nil || r.Client == nil {
		return 0, false
	}
	return max(0, r.Client.P50-r.Server.p50()-r.Here), true
}

// perSecond is below 0 if there are none.
func (r *Requests) perSecond() float64 {
	if r == nil {
		return -1
	}
	return r.PerSecond
}

func (r *Requests) client() float64 {
	if r == nil {
		return 0
	}
	return r.Client.p50()
}

func (r *Requests) server() float64 {
	if r == nil {
		return 0
	}
	return r.Server.p50()
}

// requests are a pair's; nil if it has none.
func (b *builder) requests(p *aggregate.Pair) *Requests {
	if p.Requests == nil {
		return nil
	}
	client, server := &p.Requests.Client, &p.Requests.Server
	side := client
	if client.Count() == 0 {
		side = server
	}
	r := &Requests{
		PerSecond: float64(side.Answered.Count()) / b.seconds, Unanswered: side.Unanswered,
		Client: newDelay(&client.Answered), Server: newDelay(&server.Answered), Connect: newDelay(&client.Connects),
		Here: betweenPods(p),
	}
	if back := b.pairOf(p.Reverse()); back != nil {
		r.Here += betweenPods(back)
	}
	if r.Client != nil {
		r.Here = min(r.Here, max(0, r.Client.P50-r.Server.p50()))
	}
	return r
}

// betweenPods is the p50 of a pair's time on this node without the queues at its pods' devices: requests are timed in front of those.
func betweenPods(p *aggregate.Pair) float64 {
	seconds := p.Path.Quantile(0.5)
	for i := range p.Stages {
		if s := &p.Stages[i]; metByMost(p, s) && atPod(s) {
			seconds -= s.Delay.Quantile(0.5)
		}
	}
	return max(0, seconds)
}
