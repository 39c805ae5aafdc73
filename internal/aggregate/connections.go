package aggregate

import "tracer/internal/record"

// maxConnections is how many keys are known at least, if there were so many, and half of how many are at most. A flow has two of them.
const maxConnections = 2 * DefaultMaxFlows

// connections are those of TCP that were seen last, and datagrams likewise, by the addresses that their ends know them by. What
// is asked through a Service is known by its source's port, too; without one, as port 0, by who was behind the Service last.
type connections struct {
	latest, before map[connectionKey]knownConnection
}

// knownConnection is what is known of one.
type knownConnection struct {
	pair *pair
	flow *flow // the memory may be another one's by now
}

// connectionKey is a flow by the addresses that a connection's end knows: those of the first hook, before NAT, for what it
// sends, those of the last hook for what it receives.
type connectionKey struct {
	address  [2][16]byte
	port     [2]uint16
	protocol record.Protocol
	received bool
}

func newConnectionKey(flow *record.Flow, received bool) connectionKey {
	return connectionKey{
		address:  [2][16]byte{flow.Source.Addr().As16(), flow.Destination.Addr().As16()},
		port:     [2]uint16{flow.Source.Port(), flow.Destination.Port()},
		protocol: flow.Protocol,
		received: received,
	}
}

// ofAnyPort is the key without the source's port.
func (k connectionKey) ofAnyPort() connectionKey {
	k.port[0] = 0
	return k
}

// ofSource is the key without the destination. The node's own packets come to their first hook behind the NAT that gives them
// another one.
func (k connectionKey) ofSource() connectionKey {
	k.address[1], k.port[1] = [16]byte{}, 0
	return k
}

func (f *flow) connectionKey(received bool) connectionKey {
	k, from := connectionKey{protocol: f.key.protocol, received: received}, 0
	if received {
		from = 2
	}
	copy(k.address[:], f.key.address[from:])
	copy(k.port[:], f.key.port[from:])
	return k
}

// put notes a connection. What was not put for long is forgotten.
func (c *connections) put(key connectionKey, known knownConnection) {
	if c.latest[key] == known {
		return
	}
	if c.latest == nil || len(c.latest) >= maxConnections {
		c.latest, c.before = c.before, c.latest
		if c.latest == nil {
			c.latest = make(map[connectionKey]knownConnection)
		}
		clear(c.latest)
	}
	c.latest[key] = known
}

func (c *connections) find(key connectionKey) knownConnection {
	known, ok := c.latest[key]
	if !ok {
		known = c.before[key]
	}
	return known
}

// pair returns a connection's pair; nil if it is not known, or not any more.
func (c *connections) pair(key connectionKey) *pair {
	p := c.find(key).pair
	if p == nil || p.evicted {
		return nil
	}
	return p
}

// flow returns a connection's flow; nil if it is not known, or not any more.
func (c *connections) flow(key connectionKey) *flow {
	f := c.find(key).flow
	if f == nil || f.pair == nil || f.pair.evicted {
		return nil
	}
	if is := f.connectionKey(key.received); is != key && is.ofSource() != key {
		return nil
	}
	return f
}

// add notes a flow by the addresses that its ends know it by.
func (c *connections) add(f *flow) {
	known := knownConnection{f.pair, f}
	if f.key.direction != keyIn {
		key := f.connectionKey(false)
		c.put(key, known)
		switch {
		case f.pair.SrcWorkload == NodeWorkload:
			c.put(key.ofSource(), known)
		case !f.pair.other && (f.key.address[1] != f.key.address[3] || f.key.port[1] != f.key.port[3]):
			c.put(key.ofAnyPort(), known) // it went through a Service
		}
	}
	if f.key.direction != keyOut {
		c.put(f.connectionKey(true), known)
	}
}
