package record

// Coverage is how many of the packets that passed devices a tc hook of theirs saw, and what became of those that began a
// journey there, since the start. Estimates where packets are sampled, exact where each is.
type Coverage struct {
	Packets  uint64 `json:"packets"`  // sk_buffs seen, those that are no IP included
	Segments uint64 `json:"segments"` // of those
	Variance uint64 `json:"variance"` // of Packets, by sampling

	// In segments of packets that were to go on: not to the node itself, no fragments.

	Begun    uint64 `json:"begun"`    // journeys that began there
	Ended    uint64 `json:"ended"`    // of those begun: came to an end that was seen, be it a drop
	Merged   uint64 `json:"merged"`   // of those begun: went on as part of another packet (GRO)
	InFlight uint64 `json:"inflight"` // of those begun: may come to an end yet
}

// Add adds what another counts.
func (c *Coverage) Add(d Coverage) {
	c.Packets += d.Packets
	c.Segments += d.Segments
	c.Variance += d.Variance
	c.Begun += d.Begun
	c.Ended += d.Ended
	c.Merged += d.Merged
	c.InFlight += d.InFlight
}
