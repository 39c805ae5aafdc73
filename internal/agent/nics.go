package agent

import (
	"sync"
	"time"

	"tracer/internal/ethtool"
	"tracer/internal/netdev"
)

// liveEvery is how old the counters of network cards and tunnels' other ends may be where nothing is diagnosed: a driver may ask its card
// for them.
const liveEvery = 5 * time.Second

// nics are the counters of network cards as read last.
type nics struct {
	reader *ethtool.Reader

	mu   sync.Mutex
	last []netdev.NIC
	read time.Time
}

// open opens the reader in the calling thread's network namespace.
func (n *nics) open() (err error) {
	n.reader, err = ethtool.Open()
	return err
}

func (n *nics) close() error {
	if n.reader == nil {
		return nil
	}
	return n.reader.Close()
}

// readNICs are the counters, at most so old.
func (a *Agent) readNICs(devices []netdev.Device, atMost time.Duration) []netdev.NIC {
	n := &a.nics
	n.mu.Lock()
	defer n.mu.Unlock()
	if now := time.Now(); now.Sub(n.read) > atMost {
		last, err := n.reader.Read(devices)
		a.failures.nics.Done(err)
		n.last, n.read = last, now
	}
	return n.last
}
