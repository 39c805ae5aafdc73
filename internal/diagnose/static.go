package diagnose

import (
	"fmt"

	"tracer/internal/netdev"
)

// minFragments is how many fragments a second mean more than a large answer of DNS or NFS now and then.
const minFragments = 10

// Static is what needs no packets to be found: what follows from how devices are set up, and from counters of the kernel that rose
// between two snapshots. All of it is a warning to who looks at it before anything hurts, apart from what is critical by itself.
func Static(from, to Snapshot) []Finding {
	to.DropsUnseen = true
	found := Diagnose("", from, to).Findings
	for i := range to.Tunnels {
		if f := podsTooLarge(to.Devices, &to.Tunnels[i]); f != nil {
			found = append(found, *f)
		}
	}
	w := newWindow("", from, to)
	if rate := float64(w.rise("IpFragCreates")+w.rise("Ip6FragCreates")) / w.seconds(); rate >= minFragments {
		found = append(found, Finding{
			Kind: KindMisconfiguration, Cause: MTU, Severity: Warning, Pairs: []Pair{}, Confidence: 0.5,
			subject: "the kernel", predicate: fmt.Sprintf("makes %.0f fragments a second", rate),
			Evidence: []string{"packets are larger than the MTU of the device that they leave by; where one fragment is lost the whole packet is"},
			Next:     []string{"nstat -az IpFragCreates IpFragFails IpReasmFails", "ip -d link show"},
		})
	}
	return found
}

// podsTooLarge is of pods whose MTU is larger than what goes into the tunnel; nil if there are none.
func podsTooLarge(devices []netdev.Device, t *netdev.Tunnel) *Finding {
	first, more := "", uint64(0)
	mtu := 0
	for i := range devices {
		d := &devices[i]
		if d.Role != netdev.RolePod || t.Largest == 0 || d.MTU <= t.Largest {
			continue
		}
		if first == "" {
			first = d.Name
		} else {
			more++
		}
		mtu = max(mtu, d.MTU)
	}
	if first == "" {
		return nil
	}
	names := first
	if more > 0 {
		names += fmt.Sprintf(" and of %s", plural(more, "more pod"))
	}
	return &Finding{
		Kind: KindMisconfiguration, Cause: MTU, Severity: Warning, Device: t.Device, Pairs: []Pair{}, Confidence: 0.5,
		subject: "the MTU of " + names, predicate: fmt.Sprintf("is up to %s, and %s takes %s", group(uint64(mtu)), t.Device, group(uint64(t.Largest))),
		Evidence: []string{"what is larger is answered by ICMP, from which TCP learns; it is lost where a rule drops ICMP"},
		Next:     []string{"ip -d link show dev " + shellWord(first) + "; ip -d link show dev " + shellWord(t.Device)},
	}
}
