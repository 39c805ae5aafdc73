package record

import (
	"fmt"
	"net/netip"
)

// NFQueue is a queue of packets to user space that somebody listens at (/proc/net/netfilter/nfnetlink_queue). Its counts are since
// the listener came.
type NFQueue struct {
	Number      uint16 `json:"number"`
	PortID      uint32 `json:"portid"` // of the listener's socket; most use their process id
	Waiting     uint64 `json:"waiting"`
	Dropped     uint64 `json:"dropped"`      // the queue was full
	UserDropped uint64 `json:"user_dropped"` // the listener's socket was full
	Sequence    uint64 `json:"sequence"`     // packets that were queued
}

// Hooks are places of netfilter, as bits 1<<NF_INET_….
type Hooks uint8

// The hooks of IP.
const (
	HookPrerouting Hooks = 1 << iota
	HookInput
	HookForward
	HookOutput
	HookPostrouting
	AnyHook Hooks = 0xff // of a chain that may be called from anywhere
)

// Verdict is what a rule does to packets.
type Verdict string

// The verdicts of rules that can lose packets.
const (
	VerdictDrop   Verdict = "drop"
	VerdictReject Verdict = "reject" // and tell the sender, by ICMP or RST
	VerdictQueue  Verdict = "queue"  // to user space
)

// Rule is a rule of nftables or iptables, or the policy of a chain.
type Rule struct {
	Legacy bool   // of the old iptables, which nft does not know
	Family string // ip, ip6, inet, bridge, netdev
	Table  string
	Chain  string
	Handle uint64 // nftables'; 0 for a chain's policy
	Number int    // in its chain, from 1, as iptables counts; 0 for a chain's policy
	Hooks  Hooks  // from which the chain can be reached
	Map    string // of a verdict map, where it is an element of one; it has no handle then
	// VerdictMap is the map that decides, of a rule that has none of its own; the match is that of one of the map's elements then.
	VerdictMap string
	Comment    string
	Verdict    Verdict
	// Queue and Queues are the first of the queues to user space, and how many there are.
	Queue, Queues uint16
	Bypass        bool // where nobody listens packets pass
	Match         RuleMatch
	Counted       bool
	Packets       uint64 // counted between two readings
}

// RuleMatch is what is known of the packets that a rule takes. What is left out may be anything, and so may what is not
// understood of it.
type RuleMatch struct {
	Source, Destination AddressMatch
	Protocol            Protocol // 0: any
	SourcePort, Port    PortMatch
	State               string // of the connection table, as "invalid"
}

// AddressMatch is a condition on an address.
type AddressMatch struct {
	Prefix netip.Prefix // invalid: any
	Not    bool
}

// PortMatch is a condition on a port. One that is not known is 0, and matches.
type PortMatch struct {
	Low, High uint16
	Set, Not  bool
}

func (m AddressMatch) matches(a netip.Addr) bool {
	return !m.Prefix.IsValid() || m.Prefix.Contains(a.Unmap()) != m.Not
}

func (m PortMatch) matches(port uint16) bool {
	return !m.Set || port == 0 || (m.Low <= port && port <= m.High) != m.Not
}

// Matches tells whether the rule may have taken packets of the flow.
func (m *RuleMatch) Matches(f Flow) bool {
	return m.Source.matches(f.Source.Addr()) && m.Destination.matches(f.Destination.Addr()) &&
		(m.Protocol == 0 || m.Protocol == f.Protocol) && m.SourcePort.matches(f.Source.Port()) && m.Port.matches(f.Destination.Port())
}

// Names tells whether the match is one of an address or port, so that few packets are taken by accident.
func (m *RuleMatch) Names() bool {
	named := func(a AddressMatch) bool { return a.Prefix.IsValid() && a.Prefix.Bits() > 0 && !a.Not }
	return named(m.Source) || named(m.Destination) || m.SourcePort.Set && !m.SourcePort.Not || m.Port.Set && !m.Port.Not
}

// MayTake tells whether the rule may have taken packets of a flow that netfilter lost at one of those hooks.
func (r *Rule) MayTake(f Flow, hooks Hooks) bool {
	if r.Hooks&hooks == 0 || r.Family == "ip" && !f.Source.Addr().Is4() || r.Family == "ip6" && f.Source.Addr().Is4() {
		return false
	}
	return r.Match.Matches(f)
}

// Iptables tells whether iptables made the rule, and can show it.
func (r *Rule) Iptables() bool {
	if r.Legacy {
		return true
	}
	switch r.Table {
	case "filter", "nat", "mangle", "raw", "security":
		return r.Family == "ip" || r.Family == "ip6"
	}
	return false
}

// String names the rule as the tool that made it does: "nft rule ip filter FORWARD handle 7", "iptables rule 3 of chain INPUT".
func (r *Rule) String() string {
	var text string
	switch {
	case r.Map != "":
		text = fmt.Sprintf("an element of nft map %s %s %s", r.Family, r.Table, r.Map)
	case r.Number == 0 && r.Handle == 0:
		text = fmt.Sprintf("the policy of chain %s %s %s", r.Family, r.Table, r.Chain)
	case r.Iptables():
		text = fmt.Sprintf("rule %d of chain %s (%s -t %s)", r.Number, r.Chain, r.iptables(), r.Table)
	default:
		text = fmt.Sprintf("nft rule %s %s %s handle %d", r.Family, r.Table, r.Chain, r.Handle)
	}
	if r.Comment != "" {
		text += fmt.Sprintf(" (comment %q)", r.Comment)
	}
	if r.VerdictMap != "" {
		text += ", a verdict map,"
	}
	return text
}

func (r *Rule) iptables() string {
	name := "iptables"
	if r.Family == "ip6" {
		name = "ip6tables"
	}
	if r.Legacy {
		name += "-legacy"
	}
	return name
}

// Show is the command that shows the rule with its counter, in words that a shell may not take as they are: who makes a chain may call
// it what he likes.
func (r *Rule) Show() []string {
	if r.Iptables() {
		return []string{r.iptables(), "-t", r.Table, "-nvL", r.Chain, "--line-numbers"}
	}
	if r.Map != "" {
		return []string{"nft", "list", "map", r.Family, r.Table, r.Map}
	}
	return []string{"nft", "-a", "list", "chain", r.Family, r.Table, r.Chain}
}

// Key is the same for the same rule in two readings. One without a handle is known by what it does, as its number changes where
// others are inserted.
func (r *Rule) Key() string {
	if r.Handle != 0 && r.VerdictMap == "" {
		return fmt.Sprintf("%s %s %d", r.Family, r.Table, r.Handle)
	}
	return fmt.Sprintf("%t %s %s %s %s %t %s %+v %s", r.Legacy, r.Family, r.Table, r.Chain, r.Map, r.Number == 0, r.Verdict, r.Match, r.Comment)
}
