package diagnose

import (
	"fmt"
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
	switch f.Stage {
	case journey.Deliver, journey.Queue, journey.PodQueue:
	default:
		return nil
	}
	for i := range f.Pairs {
		if a := f.podOf(&f.Pairs[i]); a.IsValid() && !slices.Contains(addresses, a) {
			addresses = append(addresses, a)
		}
	}
	return addresses
}

// podOf is the address of the end of a pair whose own the finding is; the zero Addr if it is not known.
func (f *Finding) podOf(p *Pair) netip.Addr {
	switch {
	case p.Addresses == nil:
		return netip.Addr{}
	case f.Stage == journey.PodQueue && f.Direction != journey.In:
		return p.Addresses.Src
	}
	return p.Addresses.Dst
}

// OfPod is the finding for who may see one pod and no other: the pairs of its addresses, and a sentence that has the cause and figures.
func (f *Finding) OfPod(addresses []netip.Addr) Finding {
	of := Finding{Kind: f.Kind, Cause: f.Cause, Severity: f.Severity, Stage: f.Stage, Device: f.Device, Direction: f.Direction, Confidence: f.Confidence}
	for i := range f.Pairs {
		if slices.Contains(addresses, f.podOf(&f.Pairs[i])) {
			of.Pairs = append(of.Pairs, f.Pairs[i])
		}
	}
	of.PairsTotal = len(of.Pairs)
	infos := Causes()
	of.Text = string(f.Cause)
	if at := slices.IndexFunc(infos, func(i CauseInfo) bool { return i.Cause == f.Cause }); at >= 0 {
		of.Text = infos[at].Meaning
	}
	figures := f.figures()
	for _, r := range figures {
		of.Text += fmt.Sprintf("; %s %s", r.label, r.text)
	}
	if len(figures) > 0 && f.PairsTotal > of.PairsTotal {
		of.Text += ", of all pods of this node that it hurts"
	}
	return of
}
