package loader

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
	"tracer/internal/rtnl"
)

// tcFilter is a filter of a device as the kernel lists it.
type tcFilter struct {
	ifindex            int
	priority, protocol uint16
	kind               string
	// rule is false for what holds the priority and matches nothing: the head of a list of filters, a hash table of u32.
	rule   bool
	chain  uint32 // 0 but for filters that others jump to
	handle uint32
	name   string // of a bpf filter
	action tcAction
}

// tcAction is what a filter does with the packets that it matches, as far as we know.
type tcAction struct {
	verb    string // "redirects to", "mirrors to", "drops packets"; "" if unknown
	ifindex int    // where to
}

// ours tells whether it is one of a tracer's.
func (f *tcFilter) ours() bool {
	return f.kind == "bpf" && (f.handle == ingressHandle || f.handle == egressHandle) && strings.HasPrefix(f.name, filterPrefix)
}

// sharesPriority tells whether a filter of ours can have the same priority. The kernel then runs first what came last.
func (f *tcFilter) sharesPriority() bool { return f.kind == "bpf" && f.protocol == unix.ETH_P_ALL }

// tracedProtocols are those that a packet with a journey can have.
var tracedProtocols = map[uint16]string{
	unix.ETH_P_ALL: "all", unix.ETH_P_IP: "ip", unix.ETH_P_IPV6: "ipv6", unix.ETH_P_8021Q: "802.1q", unix.ETH_P_8021AD: "802.1ad",
}

// hides tells whether it may take packets that we would see: a match ends the chain unless its action is "continue".
func (f *tcFilter) hides() bool { return f.rule && tracedProtocols[f.protocol] != "" }

// String says what it is and does, for people.
func (f *tcFilter) String() string {
	text := fmt.Sprintf("a %s filter of priority %d", f.kind, f.priority)
	if f.name != "" {
		text += " (" + f.name + ")"
	}
	if f.protocol != unix.ETH_P_ALL {
		text += " for protocol " + tracedProtocols[f.protocol]
	}
	switch {
	case f.action.verb == "":
		return text + " runs"
	case f.action.ifindex == 0:
		return text + " " + f.action.verb
	}
	name := fmt.Sprintf("device %d", f.action.ifindex)
	if l, err := netlink.LinkByIndex(f.action.ifindex); err == nil {
		name = l.Attrs().Name
	}
	return text + " " + f.action.verb + " " + name
}

func parseFilter(message []byte) (tcFilter, error) {
	const tcMessageBytes = 20
	if len(message) < tcMessageBytes {
		return tcFilter{}, fmt.Errorf("a message of %d bytes", len(message))
	}
	header := nl.DeserializeTcMsg(message)
	f := tcFilter{ifindex: int(header.Ifindex), handle: header.Handle, priority: uint16(header.Info >> 16), protocol: nl.Swap16(uint16(header.Info))}
	var options []byte
	for kind, value := range rtnl.Attributes(message[tcMessageBytes:]) {
		switch kind {
		case nl.TCA_KIND:
			f.kind = unix.ByteSliceToString(value)
		case nl.TCA_CHAIN:
			f.chain = word(value, 0)
		case nl.TCA_OPTIONS: // a rule's, even if there are none
			f.rule = f.kind != "u32"
			if actionAttribute[f.kind] != 0 { // others, qdiscs among them, may have a structure here
				options = value
			}
		}
	}
	for kind, value := range rtnl.Attributes(options) {
		switch {
		case f.kind == "u32" && kind == nl.TCA_U32_SEL:
			f.rule = true
		case f.kind == "bpf" && kind == nl.TCA_BPF_NAME:
			f.name = record.Printable(unix.ByteSliceToString(value))
		case kind == actionAttribute[f.kind]:
			f.action = parseAction(value)
		}
	}
	return f, nil
}

// actionAttribute is where a filter of a kind has its actions.
var actionAttribute = map[string]int{
	"u32": nl.TCA_U32_ACT, "matchall": nl.TCA_MATCHALL_ACT, "flower": nl.TCA_FLOWER_ACT, "fw": nl.TCA_FW_ACT, "bpf": nl.TCA_BPF_ACT,
}

// parseAction looks in a list of actions for the first that sends packets elsewhere or drops them.
func parseAction(list []byte) tcAction {
	for _, action := range rtnl.Attributes(list) {
		var kind string
		var options []byte
		for part, value := range rtnl.Attributes(action) {
			switch part {
			case nl.TCA_ACT_KIND:
				kind = unix.ByteSliceToString(value)
			case nl.TCA_ACT_OPTIONS:
				options = value
			}
		}
		for part, value := range rtnl.Attributes(options) {
			const parameters = 2 // TCA_GACT_PARMS, TCA_MIRRED_PARMS
			if part != parameters {
				continue
			}
			if found := describeAction(kind, value); found.verb != "" {
				return found
			}
		}
	}
	return tcAction{}
}

// describeAction reads a struct tc_gact or tc_mirred, which begin with the same five words; the third is the verdict.
func describeAction(kind string, parameters []byte) tcAction {
	const verdict, direction, ifindex = 2, 5, 6
	switch kind {
	case "gact":
		if int32(word(parameters, verdict)) == int32(netlink.TC_ACT_SHOT) {
			return tcAction{verb: "drops packets"}
		}
	case "mirred":
		switch netlink.MirredAct(word(parameters, direction)) {
		case netlink.TCA_EGRESS_REDIR, netlink.TCA_INGRESS_REDIR:
			return tcAction{"redirects to", int(word(parameters, ifindex))}
		case netlink.TCA_EGRESS_MIRROR, netlink.TCA_INGRESS_MIRROR:
			return tcAction{"mirrors to", int(word(parameters, ifindex))}
		}
	}
	return tcAction{}
}

// word is the i-th 32-bit word, 0 beyond the end.
func word(b []byte, i int) uint32 {
	if len(b) < 4*(i+1) {
		return 0
	}
	return binary.NativeEndian.Uint32(b[4*i:])
}
