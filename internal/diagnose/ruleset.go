package diagnose

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// Ruleset is what netfilter's rules in one network namespace did lately, of those that can lose packets, and which it lost.
type Ruleset struct {
	Ifindex int    // of the device, on this side, of the pod whose namespace it is; 0: this node's own
	Netns   uint64 // inode of the namespace, where it is a pod's and could be entered
	// From and Until are when the rules' counters were read. They are equal where they were read once: what rose is not known.
	From, Until time.Time
	// Rules are those that counted packets in between, and those without a counter that match a flow that lost some.
	Rules []record.Rule
	// Lost are the flows that lost packets in that time, or lately where the rules were read once. Of many, some are left out.
	Lost []LostFlow
	// Queues are the queues to user space that somebody listens at.
	Queues []record.NFQueue
	// Unread says what could not be read; "" if all was.
	Unread string
}

// LostFlow is a flow of which netfilter lost packets.
type LostFlow struct {
	Device       string      // the label of where they were seen last
	First, Last  record.Flow // as the packets came, and as they were lost
	Source, Dest aggregate.Identity
	// ToNode and FromNode tell that the packets were for this node itself, or its own.
	ToNode, FromNode bool
	Wrapped          bool // lost in their tunnel's packets, which this node got or made: the rule saw these
	Queue            bool // lost on the way to user space, or by it (NFQUEUE)
	Packets          uint64
}

// hooks are those of netfilter that the flow's packets may have been lost at.
func (f *LostFlow) hooks(inPod bool) record.Hooks {
	const in, out = record.HookPrerouting | record.HookInput, record.HookOutput | record.HookPostrouting
	switch {
	case f.ToNode, (f.Wrapped || inPod) && !f.FromNode:
		return in
	case f.FromNode:
		return out
	}
	return record.HookPrerouting | record.HookForward | record.HookPostrouting
}

// MayBe tells whether a rule may have taken the flow's packets, before or after NAT.
func (f *LostFlow) MayBe(r *record.Rule, inPod bool) bool {
	hooks := f.hooks(inPod)
	switch {
	case f.Queue != (r.Verdict == record.VerdictQueue):
		return false
	case f.Wrapped: // of the outer header no more is known
		return r.Hooks&hooks != 0 && (r.Match.Protocol == 0 || isTunnels(r.Match.Protocol))
	}
	return r.MayTake(f.First, hooks) || r.MayTake(f.Last, hooks)
}

// isTunnels tells whether tunnels' packets have that protocol.
func isTunnels(p record.Protocol) bool {
	const ipip, sit, gre = 4, 41, 47
	return p == record.ProtocolUDP || p == ipip || p == sit || p == gre
}

// NetfilterLost tells of a drop's reason and location whether netfilter lost the packet, and whether that was on its way to user
// space or by a program there (NFQUEUE).
func NetfilterLost(reason, location string) (lost, queue bool) {
	switch policyOf(&aggregate.DropCount{DropKey: aggregate.DropKey{Reason: reason, Location: location}}) {
	case "netfilter":
		return true, false
	case nfqueue:
		return true, true
	}
	return false, false
}
