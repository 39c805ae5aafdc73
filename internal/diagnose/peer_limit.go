package diagnose

import "fmt"

// isAtPeersLimit tells whether the pod at the other end gets or sends about as much as its annotations let it: what is lost and waits
// there is lost and waits on purpose.
func (c *connected) isAtPeersLimit(w *window) bool {
	if c.TCP.PeerLimit == 0 {
		return false
	}
	bytes := c.Bytes
	if c.reverse != nil {
		bytes = max(bytes, c.reverse.Bytes)
	}
	return bytes*8/w.seconds() >= peerLimitShare*float64(c.TCP.PeerLimit)
}

// onPurpose says of what was found of pairs that their other end is limited by its annotation.
func onPurpose(pairs []connected, found []Finding) []Finding {
	for i := range found {
		f := &found[i]
		f.Severity = Info
		f.subject = "the bandwidth limit of " + f.Pairs[0].Dst
		for _, c := range pairs {
			if qualified(c.DstNamespace, c.DstWorkload) == f.Pairs[0].Dst {
				f.reason = fmt.Sprintf("its annotation asks for %s", bitRate(c.TCP.PeerLimit))
				f.Evidence = append(f.Evidence, fmt.Sprintf("info: an annotation limits the pod at the other end to %s, and it uses half of that or more: its node holds and drops what is more",
					bitRate(c.TCP.PeerLimit)))
				break
			}
		}
	}
	return found
}
