package agent

import (
	"maps"
	"slices"
	"testing"
	"time"
)

// TestLateOverlay has an overlay come to a node that has been traced for a while: packets are followed through it as if it had been there
// before.
func TestLateOverlay(t *testing.T) {
	t.Parallel()
	p := newPairOfNodes(t)
	a, device := p.trace()
	p.follow(a, device, wayOut{name: "no overlay"}, "out", p.pod, "10.9.0.2:9", "ingress "+calicoDevice+", egress eth0, xmit eth0")
	w := wayOut{name: "flannel.1", make: "type vxlan id 1 remote THERE dstport 8472", tunnel: true, number: 10}
	if !p.add(w) {
		t.Fatal("this kernel has no vxlan")
	}
	p.hooked(a, 20*time.Second, w.name)
	for _, d := range a.Devices() {
		device[d.Index] = d.Name
	}
	far, pod := p.ends(w)
	p.route(w)
	p.follow(a, device, w, "out", p.pod, far, "ingress "+calicoDevice+", egress flannel.1, xmit flannel.1, egress eth0, xmit eth0")
	p.follow(a, device, w, "in", p.far, pod, "ingress eth0, ingress flannel.1, egress "+calicoDevice+", xmit "+calicoDevice)
}

// hooked waits until devices have both their hooks, and tells when each had them.
func (p *pairOfNodes) hooked(a *Agent, limit time.Duration, devices ...string) map[string]time.Time {
	p.Helper()
	at := map[string]time.Time{}
	for end := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		hooks, _ := a.Loader().Hooks()
		now := time.Now()
		count := map[string]int{}
		for _, h := range hooks {
			if h.Up {
				count[h.Device]++
			}
		}
		for _, d := range devices {
			if _, known := at[d]; !known && count[d] == 2 {
				at[d] = now
			}
		}
		if len(at) == len(devices) {
			return at
		}
		if now.After(end) {
			p.Fatalf("not within %v: hooks at %v; there are those at %v", limit, devices, slices.Sorted(maps.Keys(at)))
		}
	}
}
