package wireguard

import (
	"bytes"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// FuzzPeers reads answers about a WireGuard device, of one and of two messages.
func FuzzPeers(f *testing.F) {
	key := bytes.Repeat([]byte{7}, 32)
	allowed := nl.NewRtAttr(0, nil)
	allowed.AddRtAttr(1, []byte{2, 0})
	allowed.AddRtAttr(2, []byte{10, 0, 0, 0})
	allowed.AddRtAttr(3, []byte{24})
	peer := nl.NewRtAttr(0, nil)
	peer.AddRtAttr(1, key)
	for kind := 2; kind < 12; kind++ {
		peer.AddRtAttr(kind, make([]byte, 16))
	}
	peer.AddRtAttr(9, allowed.Serialize())
	list := nl.NewRtAttr(devicePeers, peer.Serialize())
	f.Add(append(make([]byte, 4), list.Serialize()...), []byte{})
	f.Add(append(make([]byte, 4), list.Serialize()...), append(make([]byte, 4), list.Serialize()...))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		peers, err := parsePeers("wg0", [][]byte{first, second})
		if err != nil && peers != nil {
			t.Errorf("%d peers beside the error %v", len(peers), err)
		}
	})
}
