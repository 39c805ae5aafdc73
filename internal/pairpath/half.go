package pairpath

import (
	"tracer/internal/journey"
)

// Half is what one node saw of the packets between two ends. Times are seconds where the name does not say otherwise.
type Half struct {
	WindowSeconds float64 `json:"window_seconds"`
	There         Way     `json:"there"`
	Back          Way     `json:"back"`
	// Missed are records that were lost, as they came too fast: figures are of the others.
	Missed uint64 `json:"missed"`
	// Journeys are single packets, if any were asked for; null else, and of an agent that knows no such question.
	Journeys []Journey `json:"journeys"`
}

// Way is one direction.
type Way struct {
	Packets uint64  `json:"packets"` // sk_buffs that came to an end on this node, weighted; be it that they were lost
	Stages  []Stage `json:"stages"`  // in the order in which packets meet them
	// Left and Came are packets that left this node for another, and that came from one. Where there were more than the node keeps,
	// those of the least number: so does the other node, of the same packets.
	Left      []Crossing `json:"left"`
	Came      []Crossing `json:"came"`
	LeftTotal uint64     `json:"left_total"` // sk_buffs followed, not weighted
	CameTotal uint64     `json:"came_total"`
	Crossed   uint64     `json:"crossed"` // sk_buffs that left for another node, weighted, large ones too
	// Large are sk_buffs of several segments that were followed until they left for another node, not weighted: there they are others.
	Large uint64 `json:"large"`
	// Merged is what GRO made of TCP's packets that came, up to maxCrossings: those behind the first one are in Came of no node.
	Merged []Merged `json:"merged"`
}

// Merged is what a large TCP packet holds that came from another node.
type Merged struct {
	Flow  uint64 `json:"flow"` // as in Crossing
	Seq   uint32 `json:"seq"`
	Bytes uint32 `json:"bytes"` // of payload, at least
}

// Stage is how packets passed a stage.
type Stage struct {
	Stage     journey.Stage     `json:"stage"`
	Device    string            `json:"device"`
	Direction journey.Direction `json:"direction"`
	Packets   uint64            `json:"packets"`     // that passed, weighted
	P50       *float64          `json:"p50_seconds"` // null if none was timed, as where there is no queue
	P99       *float64          `json:"p99_seconds"`
	Sum       float64           `json:"sum_seconds"`       // of all packets together, those inside included
	Usual     *float64          `json:"usual_p50_seconds"` // what the agent learned; null if nothing yet
	NoQueue   bool              `json:"no_queue"`          // a queue stage without a queue
	Lost      uint64            `json:"lost"`              // packets
	Reason    string            `json:"reason"`            // of most of them
	InFlight  float64           `json:"held"`              // inside at the window's end
	Oldest    float64           `json:"oldest_seconds"`    // of those
}

// Crossing is when a packet left a node, or came to one.
type Crossing struct {
	Packet uint64 `json:"packet"` // which it is, for this and the other node
	At     int64  `json:"at_ns"`  // CLOCK_MONOTONIC of the node
	Ends   uint32 `json:"ends"`   // stands for its addresses between the nodes
	// Hidden is the device where it left or came, if what that makes of packets is not known again, as WireGuard, MACsec, a VPN's tun or a
	// tunnel that is not looked into: what is behind it on this node has not been seen. Else "".
	Hidden string `json:"hidden_by,omitempty"`

	// Flow stands for its flow between the nodes. Of TCP alone, with the sequence number.
	Flow uint64 `json:"flow,omitempty"`
	Seq  uint32 `json:"seq,omitempty"`
	// OneIn is n where one packet in n was followed; 0 where this one was followed for certain: as all were, or by its flow's quota.
	OneIn uint32 `json:"one_in,omitempty"`

	flow     uint64 // as Flow, of all protocols
	byChance bool   // of the flow others may have the same number
}
