package agent

import (
	"errors"
	"sync"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/underlay"
	"tracer/internal/wireguard"
)

// tunnels ask the kernel where the packets of overlay devices go.
type tunnels struct {
	underlay  *underlay.Reader
	wireguard *wireguard.Reader
	peers     peers
}

// peers are WireGuard's other ends as read last: a device may have thousands of prefixes, and all are listed.
type peers struct {
	mu   sync.Mutex
	last []netdev.Peer
	err  error
	read time.Time
}

// of are those of the devices, at most so old; list lists those of one.
func (p *peers) of(devices []netdev.Device, now time.Time, atMost time.Duration, list func(device string) ([]netdev.Peer, error)) ([]netdev.Peer, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.read) <= atMost {
		return p.last, p.err
	}
	var last []netdev.Peer
	var errs []error
	for i := range devices {
		if d := &devices[i]; d.Kind == "wireguard" {
			of, err := list(d.Name)
			last = append(last, of...)
			errs = append(errs, err)
		}
	}
	p.last, p.err, p.read = last, errors.Join(errs...), now
	return p.last, p.err
}

// open opens both in the calling thread's network namespace.
func (t *tunnels) open() (err error) {
	if t.underlay, err = underlay.Open(); err != nil {
		return err
	}
	t.wireguard, err = wireguard.Open()
	return err
}

func (t *tunnels) close() {
	if t.underlay != nil {
		t.underlay.Close()
	}
	if t.wireguard != nil {
		t.wireguard.Close()
	}
}

// readTunnels are the ways of tunnels' packets, and WireGuard's other ends, the latter at most so old, as far as they can be read.
func (a *Agent) readTunnels(devices []netdev.Device, atMost time.Duration) (ways []netdev.Tunnel, peers []netdev.Peer) {
	peers, unlisted := a.tunnels.peers.of(devices, time.Now(), atMost, a.tunnels.wireguard.Peers)
	ways, err := a.tunnels.underlay.Read(devices, peers)
	a.failures.tunnels.Done(errors.Join(unlisted, err))
	return ways, peers
}
