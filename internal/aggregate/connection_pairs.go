package aggregate

// maxConnectionPairs is how many are known at least, if there were so many, and half of how many are at most.
const maxConnectionPairs = 4096

// connectionPairs are the pairs of the connections, and of datagrams likewise, that were seen last. What is asked through a Service is known
// by its source's port, too; without one, as port 0, by who was behind the Service last.
type connectionPairs struct {
	latest, before map[connectionKey]*pair
}

// put notes a connection's pair. What was not put for long is forgotten.
func (c *connectionPairs) put(key connectionKey, p *pair) {
	if c.latest[key] == p {
		return
	}
	if c.latest == nil || len(c.latest) >= maxConnectionPairs {
		c.latest, c.before = c.before, c.latest
		if c.latest == nil {
			c.latest = make(map[connectionKey]*pair)
		}
		clear(c.latest)
	}
	c.latest[key] = p
}

// find returns a connection's pair; nil if it is not known, or not any more.
func (c *connectionPairs) find(key connectionKey) *pair {
	p := c.latest[key]
	if p == nil {
		p = c.before[key]
	}
	if p == nil || p.evicted {
		return nil
	}
	return p
}

// add notes the pair of a flow by the addresses that its ends know it by.
func (c *connectionPairs) add(f *flow) {
	if f.pair.other {
		return
	}
	if f.key.direction != keyIn {
		key := f.connectionKey(false)
		c.put(key, f.pair)
		if f.key.address[1] != f.key.address[3] || f.key.port[1] != f.key.port[3] {
			c.put(key.ofAnyPort(), f.pair) // it went through a Service
		}
	}
	if f.key.direction != keyOut {
		c.put(f.connectionKey(true), f.pair)
	}
}
