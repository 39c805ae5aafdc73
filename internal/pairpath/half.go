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
	Lost      uint64            `json:"lost"`              // packets, weighted
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

	flow     uint64 // a number for its flow
	byChance bool   // of the flow others may have the same number
}
