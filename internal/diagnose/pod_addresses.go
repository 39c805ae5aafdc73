package diagnose

import (
	"net/netip"
	"slices"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// PodAddresses are those of the pods whose own the finding is, of the pairs that it names: who receives too slowly, or does not
// listen; whose own device or queue holds or loses packets. What the node does to packets of pods is not theirs.
func (f *Finding) PodAddresses() (addresses []netip.Addr) {
	if f.Device != netdev.PodLabel && !isInPod(f.Device) || f.Cause == NotTranslated {
		return nil
	}
	var ofSender bool
	switch f.Stage {
	case journey.Deliver, journey.Queue:
	case journey.PodQueue:
		ofSender = f.Direction != journey.In
	default:
		return nil
	}
	for _, p := range f.Pairs {
		if p.Addresses == nil {
			continue
		}
		a := p.Addresses.Dst
		if ofSender {
			a = p.Addresses.Src
		}
		if a.IsValid() && !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return addresses
}
