package netdev

// NIC is what a network card and its driver have counted that may mean a loss, since the driver was loaded.
type NIC struct {
	Device string `json:"device"`
	Driver string `json:"driver"` // as ethtool -i names it; "" if it names none
	// Counters are those that CounterOf knows, by its names: of several queues' the sum.
	Counters map[string]uint64 `json:"counters"`
}

// CounterClass is what it means that one of a card's counters rises.
type CounterClass uint8

// The classes.
const (
	// RingFull: packets came faster than the CPU took them from the card.
	RingFull CounterClass = iota + 1
	// NoMemory: the driver got no memory for what came.
	NoMemory
	// Damaged: what came was not what was sent, as over a bad cable or transceiver.
	Damaged
	// TooLong: what came is longer than the card's MTU lets it be.
	TooLong
	// SendFailed: the card or its driver could not send.
	SendFailed
	// LimitDropped: the cloud dropped packets since a limit of the machine was reached.
	LimitDropped
	// LimitQueued: the cloud dropped packets or held them back for such a limit.
	LimitQueued
	// ByXDP: an XDP program dropped them.
	ByXDP
	// Unspecific: dropped, for one of several reasons.
	Unspecific
)

// Counter is what is known of one of a card's counters.
type Counter struct {
	Name    string // with * in the place of the queue's number
	Class   CounterClass
	Sent    bool // of packets sent, not of those received
	Meaning string
}

// CounterOf is what a driver's counter means; false for those that mean no loss and those that are not known. The name is as
// ethtool -S prints it. A driver may be "" for the counters that rtnetlink gives of any device (struct rtnl_link_stats64).
func CounterOf(driver, name string) (Counter, bool) {
	name = withoutQueue(name)
	for _, c := range driverCounters(driver) {
		if c.Name == name {
			return c, true
		}
	}
	return Counter{}, false
}

// withoutQueue puts a * in the place of each number, and leaves out the spaces by which vmxnet3 indents.
func withoutQueue(name string) string {
	out := make([]byte, 0, len(name))
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= '0' && c <= '9':
			if n := len(out); n > 0 && out[n-1] == '*' {
				continue
			}
			c = '*'
		case c == ' ' && len(out) == 0:
			continue
		}
		out = append(out, c)
	}
	for len(out) > 0 && out[len(out)-1] == ' ' {
		out = out[:len(out)-1]
	}
	return string(out)
}
