package record

import "testing"

func TestProtocol(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Protocol{"tcp": ProtocolTCP, "UDP": ProtocolUDP, "icmpv6": ProtocolICMPv6, "89": 89, "6": ProtocolTCP} {
		var p Protocol
		if err := p.Set(text); err != nil || p != want {
			t.Errorf("%q is read as %d, %v", text, p, err)
		}
		var again Protocol
		if err := again.Set(p.String()); err != nil || again != p {
			t.Errorf("%v is read back as %v, %v", p, again, err)
		}
	}
	for _, text := range []string{"", "0", "256", "quic"} {
		if err := new(Protocol).Set(text); err == nil {
			t.Errorf("%q is taken for a protocol", text)
		}
	}
	if !ProtocolSCTP.Ports() || ProtocolICMP.Ports() {
		t.Error("ports of SCTP, or none of ICMP, are wrong")
	}
}
