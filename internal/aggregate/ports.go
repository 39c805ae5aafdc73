package aggregate

import (
	"slices"
	"time"
)

// ports are the latest ports of a client, the last eight, and when they were added.
type ports struct {
	list [8]uint16
	at   [8]uint32 // in milliseconds
	next uint8
}

func (p *ports) add(port uint16, at time.Duration) {
	i := p.next % uint8(len(p.list))
	p.list[i], p.at[i] = port, uint32(at/time.Millisecond)
	p.next++
}

func (p *ports) has(port uint16) bool { return port != 0 && slices.Contains(p.list[:], port) }

// renew sets when a port was added, if it is one of them.
func (p *ports) renew(port uint16, at time.Duration) {
	if i := slices.Index(p.list[:], port); i >= 0 {
		p.at[i] = uint32(at / time.Millisecond)
	}
}

// since tells whether a port was added at that time or after it.
func (p *ports) since(port uint16, at time.Duration) bool {
	i := slices.Index(p.list[:], port)
	return port != 0 && i >= 0 && int32(p.at[i]-uint32(at/time.Millisecond)) >= 0
}
