package httpserver

import (
	"bytes"
	"log/slog"
	"sync"
	"time"
)

// complainEvery is how often what net/http complains of is logged: whoever sends rubbish must not fill the log.
const complainEvery = 10 * time.Second

// complaints is what net/http logs (bad TLS, mostly): one line in complainEvery, which counts those left out.
type complaints struct {
	log  *slog.Logger
	name string
	now  func() time.Time

	mu     sync.Mutex
	logged time.Time
	more   int
}

// Write takes a line of a log.Logger.
func (c *complaints) Write(line []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if !c.logged.IsZero() && now.Sub(c.logged) < complainEvery {
		c.more++
		return len(line), nil
	}
	attributes := []any{"server", c.name, "err", string(bytes.TrimSpace(line))}
	if c.more > 0 {
		attributes = append(attributes, "left_out", c.more)
	}
	c.log.Warn("a client's connection failed", attributes...)
	c.logged, c.more = now, 0
	return len(line), nil
}
