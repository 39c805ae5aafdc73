package agents

import (
	"sync"

	"tracer/internal/export/api"
)

// kept are clients whose streams stay open from one question to the next, of each pod one.
type kept struct {
	mu      sync.Mutex
	clients map[Agent]*api.Client
}

// Keep has streams stay open until Close: who asks again and again takes no stream of the API server's each time.
func (c *Cluster) Keep() { c.kept = &kept{clients: map[Agent]*api.Client{}} }

// closeKept closes the streams that were kept.
func (c *Cluster) closeKept() {
	if c.kept == nil {
		return
	}
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	for a, client := range c.kept.clients {
		client.Close()
		delete(c.kept.clients, a)
	}
}

// borrow returns a client, and what is called when it is done with.
func (c *Cluster) borrow(a Agent) (client *api.Client, done func()) {
	if c.kept == nil || a.Why != "" {
		client := c.Client(a)
		return client, client.Close
	}
	c.kept.mu.Lock()
	defer c.kept.mu.Unlock()
	client, ok := c.kept.clients[a]
	if !ok {
		for old, of := range c.kept.clients { // its pod was replaced
			if old.Node == a.Node {
				of.Close()
				delete(c.kept.clients, old)
			}
		}
		client = c.Client(a)
		c.kept.clients[a] = client
	}
	return client, func() {}
}
