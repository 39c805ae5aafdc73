package netdev

import "time"

// EventKind is what an Event is about.
type EventKind string

// The kinds of events.
const (
	LinkEvent  EventKind = "link"
	QdiscEvent EventKind = "qdisc"
	MTUEvent   EventKind = "mtu"
	RouteEvent EventKind = "route"
)

// Event is a change of the namespace that may explain what packets meet.
type Event struct {
	Time   time.Time `json:"time"` // when it was announced, or seen
	Kind   EventKind `json:"kind"`
	Device string    `json:"device,omitempty"`
	Role   Role      `json:"role"`
	// Down tells of a link that it went down or away, of a route that it was removed.
	Down bool   `json:"down,omitempty"`
	Text string `json:"text"` // what happened: "went down", "route 10.2.0.0/16 removed"
}
