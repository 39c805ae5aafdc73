package lab

import (
	"testing"
	"time"
)

// TCP calls wait for each other: the slower the path, the less they add to it.
func TestOfferedCountsTCPByItsPace(t *testing.T) {
	t.Parallel()
	p := offeredLoad{packets: 10, packetBytes: 100, callBytes: 500, callEvery: 100 * time.Millisecond}
	for delay, want := range map[time.Duration]float64{0: 6000, 100 * time.Millisecond: 6000, time.Second: 1500} {
		if got := p.bytes(delay); got != want {
			t.Errorf("bytes(%v) = %v, want %v", delay, got, want)
		}
	}
}

func TestOfferedByDevice(t *testing.T) {
	t.Parallel()
	for overlay, device := range map[string]string{VXLAN: "vxlan.calico", IPIP: "tunl0", WireGuard: "wireguard.cali"} {
		top := testTopology(t, overlay)
		size := float64(top.Load.Size + ipUDP)
		headers := map[string]float64{device: 14, top.Uplink: 14 + 50}
		switch overlay {
		case IPIP:
			headers = map[string]float64{device: 0, top.Uplink: 14 + 20}
		case WireGuard: // 118 bytes are filled up to 128
			headers = map[string]float64{device: 0, top.Uplink: 14 + 60 + 10}
		}
		for name, header := range headers {
			requests, responses := top.offeredAt("node1", name), top.offeredAt("node2", name)
			if requests.packetBytes != size+header || requests.packets != top.Load.Rate {
				t.Errorf("%s %s: %+v, want packets of %v bytes", overlay, name, requests, size+header)
			}
			if responses.callBytes <= requests.callBytes {
				t.Errorf("%s %s: TCP answers %+v are not larger than requests %+v", overlay, name, responses, requests)
			}
			if idle := top.offeredAt("node3", name); idle.packets != 0 || idle.callEvery != 0 {
				t.Errorf("%s %s of node3: %+v, want nothing", overlay, name, idle)
			}
		}
		if p := top.offeredAt("node1", top.pod("cache").Device); p.packets != 0 {
			t.Errorf("cache: %+v, want nothing", p)
		}
	}
}
