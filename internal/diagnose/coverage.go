package diagnose

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// HookCoverage is what a tc hook has seen of the packets of a device, or of all pods' devices, up to a snapshot.
type HookCoverage struct {
	Device string      `json:"device"` // as netdev.Role.Label has it
	Role   netdev.Role `json:"role"`
	Hook   record.Hook `json:"hook"` // record.Ingress or record.Egress
	// Before and After are the programs' counts as read before and after the devices' own. So of the packets that pass
	// meanwhile none looks unseen.
	Before record.Coverage `json:"before"`
	After  record.Coverage `json:"after"`
	// Packets and Bytes are the devices' own counts (ip -s link), of the time in which the hook was attached.
	Packets uint64 `json:"device_packets"`
	Bytes   uint64 `json:"device_bytes"`
}

// MissingHook is a hook that is planned and not attached, or attached and never run.
type MissingHook struct {
	Hook   string `json:"hook"`
	Device string `json:"device,omitempty"` // "" for a tracepoint
	Reason string `json:"reason"`
}

// Coverage is how much of the packets was seen at a device in one direction.
type Coverage struct {
	Device    string            `json:"device"`    // "pod" for all pods' devices together; null for a tracepoint
	Direction journey.Direction `json:"direction"` // in or out; null for a tracepoint
	// Ratio is the share of the packets that passed the device's hook and came to an end that was seen, 0 to 1. It is null
	// where too few passed to tell.
	Ratio  *float64 `json:"ratio"`
	Reason string   `json:"reason"` // why the others are not seen; null where Ratio is at least 0.95, or null
	// Seen is how many packets the hook saw, DevicePackets how many the device counted. Where the device counts segments and
	// not sk_buffs, so does Seen.
	Seen          uint64 `json:"seen"`
	DevicePackets uint64 `json:"device_packets"`
	// Begun are the segments of packets that were to go on from here, and Ended those of them that came to an end.
	Begun uint64 `json:"begun"`
	Ended uint64 `json:"ended"`
}

// MarshalJSON writes null for what is not known, or nothing to say.
func (c Coverage) MarshalJSON() ([]byte, error) {
	type plain Coverage // without this method
	return json.Marshal(struct {
		Device    *string `json:"device"`
		Direction *string `json:"direction"`
		plain
		Reason *string `json:"reason"`
	}{known(c.Device), known(string(c.Direction)), plain(c), known(c.Reason)})
}

// coverageOf is a row for each device that carries pods' traffic, and one for each hook that is missing.
func coverageOf(w *window) []Coverage {
	rows := []Coverage{}
	before := byHook(w.from.Coverage)
	for i := range w.to.Coverage {
		now := &w.to.Coverage[i]
		if !carriesPods(now.Role) {
			continue
		}
		row := judgeCoverage(w, now, before[hookKey{now.Device, now.Hook}])
		if row.DevicePackets+row.Seen > 0 {
			rows = append(rows, row)
		}
	}
	rows = append(rows, missingHooks(w, endedInPods(rows))...)
	slices.SortStableFunc(rows, func(x, y Coverage) int {
		return cmp.Or(cmp.Compare(x.share(), y.share()), cmp.Compare(x.Device, y.Device), cmp.Compare(x.Direction, y.Direction))
	})
	return rows
}

// carriesPods tells whether pods' packets pass devices of a role.
func carriesPods(r netdev.Role) bool { return r == netdev.RolePod || r.LeadsOut() }

type hookKey struct {
	device string
	hook   record.Hook
}

func byHook(list []HookCoverage) map[hookKey]*HookCoverage {
	m := make(map[hookKey]*HookCoverage, len(list))
	for i := range list {
		m[hookKey{list[i].Device, list[i].Hook}] = &list[i]
	}
	return m
}

// directionAt is which way packets go that pass a hook of a device of that role.
func directionAt(r netdev.Role, hook record.Hook) journey.Direction {
	if (r == netdev.RolePod) == (hook == record.Ingress) {
		return journey.Out
	}
	return journey.In
}

// judgeCoverage compares what a hook saw in the window with what the device counted, and what began with what ended.
func judgeCoverage(w *window, now, before *HookCoverage) Coverage {
	if before == nil {
		before = &HookCoverage{}
	}
	c := Coverage{Device: now.Device, Direction: directionAt(now.Role, now.Hook), DevicePackets: rise(now.Packets, before.Packets)}
	// Each difference is the one that makes less look unseen.
	packets := rise(now.After.Packets, before.Before.Packets)
	segments := rise(now.After.Segments, before.Before.Segments)
	variance := float64(rise(now.After.Variance, before.Before.Variance))
	c.Seen = packets
	devices := w.devicesOf(now)
	bytes := rise(now.Bytes, before.Bytes)
	if !countsPackets(devices, now, c.DevicePackets, bytes) {
		c.Seen = max(packets, segments)
	}
	if now.isPodsIngress() && c.Seen < c.DevicePackets {
		c.Seen += min(c.DevicePackets-c.Seen, w.seenAtIFB(devices))
	}
	sampled := 1.0 // packets that a sampled one stands for
	if packets > 0 {
		sampled += variance / float64(packets)
	}

	hooked, hookKnown := 1.0, c.DevicePackets >= minCoveragePackets &&
		!slices.ContainsFunc(devices, func(d netdev.Device) bool { return !d.CountsWhatHooksSee() })
	if hookKnown {
		noise := coverageSigmas * math.Sqrt(variance)
		if packets > 0 {
			noise *= float64(c.Seen) / float64(packets)
		}
		if now.Hook == record.Egress {
			noise += float64(w.leftUnhooked(devices))
		}
		hooked = shareSeen(float64(c.Seen), float64(c.DevicePackets), noise)
	}

	merged := rise(now.After.Merged, before.Before.Merged)
	doubt := coverageDoubtFactor * (w.to.Doubt - min(w.to.Doubt, w.from.Doubt))
	c.Begun = rise(now.Before.Begun, before.After.Begun)
	c.Begun -= min(c.Begun, merged)
	ended := float64(now.After.Ended) + float64(now.After.InFlight) - float64(before.Before.Ended) - float64(before.Before.InFlight)
	c.Ended = uint64(max(0, min(ended, float64(c.Begun))))
	ending, endKnown := 1.0, c.Begun >= minCoveragePackets
	if endKnown {
		each := sampled
		if packets > 0 {
			each *= float64(segments) / float64(packets)
		}
		ending = shareSeen(float64(c.Ended), float64(c.Begun), coverageLostSamples*each+float64(doubt))
	}

	if !hookKnown && !endKnown {
		return c
	}
	ratio := hooked * ending
	c.Ratio = &ratio
	if ratio < warnCoverage {
		c.Reason = coverageReason(&c, now, devices, hooked, ending)
		if n := w.fragmented(); ending < hooked && 2*n >= c.Begun-c.Ended {
			c.Reason = fmt.Sprintf("behind %s the kernel fragmented %s, which are not followed from there", deviceNames(devices, now.Device), plural(n, "packet"))
		}
	}
	return c
}

// fragmented is how many packets the kernel fragmented in the window: what a tunnel made too large for its way, and others.
func (w *window) fragmented() uint64 { return w.rise("IpFragOKs") + w.rise("Ip6FragOKs") }

// leftUnhooked is how many packets may have left devices in the window of which the egress hook has seen nothing, or nothing in the
// window: those that waited there when it began, and the segments that an ifb makes of large packets, the first and the last of which
// are followed.
func (w *window) leftUnhooked(devices []netdev.Device) (n uint64) {
	for i := range w.from.Devices {
		before := &w.from.Devices[i]
		now := slices.IndexFunc(w.to.Devices, func(d netdev.Device) bool { return d.Index == before.Index })
		if now < 0 {
			continue
		}
		if ifb := &w.to.Devices[now]; ifb.Role == netdev.RoleIFB && ifb.Root.Splits() {
			n += rise(ifb.Root.Packets, before.Root.Packets)
		}
		if slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.Index == before.Index }) {
			waiting := before.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogPackets })
			inBytes := before.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogBytes })
			n += max(waiting, inBytes/uint64(max(1, before.MTU)))
		}
	}
	return n
}

// shareSeen is seen of all; all of it where what is missing may be chance, or noise.
func shareSeen(seen, all, noise float64) float64 {
	if all-seen <= max(coverageSlack, noise) {
		return 1
	}
	return seen / all
}

func rise(now, before uint64) uint64 { return now - min(now, before) }

// devicesOf are those that a hook's coverage is of.
func (w *window) devicesOf(c *HookCoverage) (devices []netdev.Device) {
	for _, d := range w.to.Devices {
		if d.Role == c.Role && d.Role.Label(d.Name) == c.Device {
			devices = append(devices, d)
		}
	}
	return devices
}

// countsPackets tells whether devices count sk_buffs, as many as pass the hook. A veth does, unless its qdisc splits them behind
// the egress. Hardware counts what is on the wire, segments, or large packets whole. Of what comes in their mean size tells: with
// more than an MTU they cannot be segments. Of what goes out it does not, since some may be split in software behind the hook.
func countsPackets(devices []netdev.Device, c *HookCoverage, packets, bytes uint64) bool {
	exact := len(devices) > 0
	mtu := 0
	for _, d := range devices {
		veth := d.Kind == "veth" || d.Kind == "netkit"
		if c.Hook == record.Egress {
			veth = veth && c.Role == netdev.RolePod && !d.Root.Splits()
		}
		exact = exact && veth
		mtu = max(mtu, d.MTU)
	}
	const headers = 100 // beyond the MTU: Ethernet's, VLANs' and what drivers add
	return exact || c.Hook == record.Ingress && mtu > 0 && packets > 0 && bytes/packets > uint64(mtu+headers)
}

// coverageReason says why so much is not seen, by what is known of it.
func coverageReason(c *Coverage, at *HookCoverage, devices []netdev.Device, hooked, ending float64) string {
	names := deviceNames(devices, at.Device)
	if hooked <= ending {
		switch {
		case at.Role == netdev.RolePod && at.Hook == record.Egress:
			return fmt.Sprintf("inbound to pods of %s: redirected to the pod past this device's egress, or taken by a tc program before ours", names)
		case c.Seen == 0:
			return fmt.Sprintf("no packet reaches the %s hook that is attached to %s: a tc program before ours takes them", at.Hook, names)
		default:
			return fmt.Sprintf("a tc program before ours takes packets at the %s of %s", at.Hook, names)
		}
	}
	switch {
	case at.Role == netdev.RolePod && at.Hook == record.Ingress:
		return fmt.Sprintf("outbound of pods of %s: they leave by a way without a hook, as where a BPF program redirects them", names)
	case at.Hook == record.Ingress:
		return fmt.Sprintf("inbound by %s: redirected to the pods past their devices, or to a device without a hook", names)
	default:
		return fmt.Sprintf("the node's own packets behind %s: they leave by a way without a hook", names)
	}
}

// deviceNames names devices in short: of many with one prefix that, as "lxc*".
func deviceNames(devices []netdev.Device, label string) string {
	switch len(devices) {
	case 0:
		return label
	case 1:
		return devices[0].Name
	}
	prefix := devices[0].Name
	for _, d := range devices[1:] {
		for !strings.HasPrefix(d.Name, prefix) {
			prefix = prefix[:len(prefix)-1]
		}
	}
	prefix = strings.TrimRight(prefix, "0123456789")
	if prefix == "" {
		return fmt.Sprintf("%d devices such as %s", len(devices), devices[0].Name)
	}
	return prefix + "*"
}

// brief is the beginning of an error: that of a program which the verifier refuses is as long as its log.
func brief(reason string) string {
	const most = 160
	if len(reason) <= most {
		return reason
	}
	return strings.ToValidUTF8(reason[:most], "") + " …"
}

// share is the ratio, or 1 where that is not known.
func (c *Coverage) share() float64 {
	if c.Ratio == nil {
		return 1
	}
	return *c.Ratio
}

// Low tells whether less than it should be is seen.
func (c *Coverage) Low() bool { return c.share() < warnCoverage }

// Blind tells whether so little is seen that nothing follows from it.
func (c *Coverage) Blind() bool { return c.share() < blindCoverage }

// Sentence says how much is seen, and why not the rest.
func (c *Coverage) Sentence() string {
	if c.Device == "" {
		return c.Reason
	}
	at := c.Device
	if at == netdev.PodLabel {
		at = "pods' devices"
	}
	return fmt.Sprintf("%s, %s: %s of the packets are seen (%s)", at, c.Direction, percent(c.share()), c.Reason)
}

// unseenPackets is how many packets pods' devices counted in the window that no hook saw.
func unseenPackets(rows []Coverage) (unseen uint64) {
	for i := range rows {
		if c := &rows[i]; c.Device == netdev.PodLabel {
			unseen += c.DevicePackets - min(c.DevicePackets, c.Seen)
		}
	}
	return unseen
}

// lostSight tells of a window of which no record was read whether so many packets came in to go on that there should be some.
func (w *window) lostSight(rows []Coverage) bool {
	return w.length() >= minReadWindow && begunPackets(rows) >= minCoveragePackets
}

// begunPackets is how many packets came in, or were sent by the node, to go on.
func begunPackets(rows []Coverage) (begun uint64) {
	for i := range rows {
		begun += rows[i].Begun
	}
	return begun
}
