package agent

import (
	"errors"

	"tracer/internal/netdev"
	"tracer/internal/underlay"
	"tracer/internal/wireguard"
)

// tunnels ask the kernel where the packets of overlay devices go.
type tunnels struct {
	underlay  *underlay.Reader
	wireguard *wireguard.Reader
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

// readTunnels are the ways of tunnels' packets, and WireGuard's other ends, as far as they can be read.
func (a *Agent) readTunnels(devices []netdev.Device) (ways []netdev.Tunnel, peers []netdev.Peer) {
	var errs []error
	for i := range devices {
		if d := &devices[i]; d.Kind == "wireguard" {
			of, err := a.tunnels.wireguard.Peers(d.Name)
			peers = append(peers, of...)
			errs = append(errs, err)
		}
	}
	ways, err := a.tunnels.underlay.Read(devices, peers)
	a.failures.tunnels.Done(errors.Join(append(errs, err)...))
	return ways, peers
}
