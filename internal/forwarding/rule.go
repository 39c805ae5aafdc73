package forwarding

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// rule is one of policy routing (ip rule). Package netlink reads no rule's action.
type rule struct {
	priority uint32
	from, to netip.Prefix // the zero Prefix: any
	iif, oif string
	mark     uint32
	protocol uint8 // of the layer above IP; 0: any
	ports    bool  // it asks for ports
	tos      uint8
	invert   bool
	uid      bool // it asks who sends

	action   uint8 // unix.FR_ACT_*
	table    uint32
	target   uint32 // of goto: the priority to go on at
	suppress int    // routes of prefixes no longer than that are left out; -1: none
}

// rules lists those of an address family in the order in which they are asked.
func (t *Tables) rules(family int) ([]rule, error) {
	messages, err := t.dump(unix.RTM_GETRULE, raw{byte(family), 11: 0})
	if err != nil {
		return nil, fmt.Errorf("list the rules of policy routing: %w", err)
	}
	var all []rule
	for _, m := range messages {
		if r, ok := parseRule(m); ok {
			all = append(all, r)
		}
	}
	return all, nil
}

// parseRule reads an RTM_NEWRULE message: struct fib_rule_hdr is family, lengths of the prefixes, tos, table, two of no use,
// action and flags.
func parseRule(message []byte) (rule, bool) {
	const header = 12
	if len(message) < header {
		return rule{}, false
	}
	r := rule{tos: message[3], table: uint32(message[4]), action: message[7], suppress: -1}
	flags, _ := number(message[8:])
	r.invert = flags&unix.FIB_RULE_INVERT != 0
	for kind, value := range attributes(message, header) {
		n, _ := number(value)
		switch kind {
		case unix.FRA_PRIORITY:
			r.priority = n
		case unix.FRA_SRC:
			r.from = prefix(value, message[2])
		case unix.FRA_DST:
			r.to = prefix(value, message[1])
		case unix.FRA_IIFNAME:
			r.iif = unix.ByteSliceToString(value)
		case unix.FRA_OIFNAME:
			r.oif = unix.ByteSliceToString(value)
		case unix.FRA_FWMARK:
			r.mark = n
		case unix.FRA_TABLE:
			r.table = n
		case unix.FRA_GOTO:
			r.target = n
		case unix.FRA_SUPPRESS_PREFIXLEN:
			r.suppress = int(int32(n))
		case unix.FRA_IP_PROTO:
			if len(value) > 0 {
				r.protocol = value[0]
			}
		case unix.FRA_SPORT_RANGE, unix.FRA_DPORT_RANGE:
			r.ports = true
		case unix.FRA_UID_RANGE:
			r.uid = true
		}
	}
	return r, true
}

func prefix(address []byte, bits uint8) netip.Prefix {
	a, ok := netip.AddrFromSlice(address)
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a, int(bits))
}

// matches tells whether a rule is for a packet. Marks, ports and protocols are those of a packet without any: what asks for
// them is not for it, as far as is known.
func (r *rule) matches(p Packet) bool {
	is := (!r.from.IsValid() || r.from.Contains(p.Source)) && (!r.to.IsValid() || r.to.Contains(p.Destination)) &&
		(r.iif == "" || r.iif == p.Device) && r.oif == "" && r.mark == 0 && r.protocol == 0 && r.tos == 0 && !r.ports && !r.uid
	return is != r.invert
}

// String is the rule as ip rule shows it.
func (r *rule) String() string {
	words := []string{fmt.Sprintf("%d:", r.priority)}
	if r.invert {
		words = append(words, "not")
	}
	words = append(words, "from", orAll(r.from))
	if r.to.IsValid() {
		words = append(words, "to", orAll(r.to))
	}
	if r.iif != "" {
		words = append(words, "iif", r.iif)
	}
	switch r.action {
	case unix.FR_ACT_TO_TBL:
		words = append(words, "lookup", tableName(r.table))
	case unix.FR_ACT_GOTO:
		words = append(words, "goto", strconv.FormatUint(uint64(r.target), 10))
	case unix.FR_ACT_BLACKHOLE, unix.FR_ACT_UNREACHABLE, unix.FR_ACT_PROHIBIT:
		words = append(words, refusals()[r.action-unix.FR_ACT_BLACKHOLE])
	default:
		words = append(words, "nop")
	}
	return strings.Join(words, " ")
}

func orAll(p netip.Prefix) string {
	switch {
	case !p.IsValid():
		return "all"
	case p.IsSingleIP():
		return p.Addr().String()
	}
	return p.String()
}

// refusals are the kinds of rules, from FR_ACT_BLACKHOLE on, and of routes, from RTN_BLACKHOLE on, that lead nowhere.
func refusals() [3]string { return [...]string{"blackhole", "unreachable", "prohibit"} }

// usual tells of a rule that every namespace has: to the tables local, main and default.
func (r *rule) usual() bool {
	return !r.from.IsValid() && !r.to.IsValid() && r.iif == "" && r.action == unix.FR_ACT_TO_TBL && r.table >= unix.RT_TABLE_DEFAULT &&
		r.table <= unix.RT_TABLE_LOCAL
}

func tableName(table uint32) string {
	switch table {
	case unix.RT_TABLE_MAIN:
		return "main"
	case unix.RT_TABLE_LOCAL:
		return "local"
	case unix.RT_TABLE_DEFAULT:
		return "default"
	}
	return strconv.FormatUint(uint64(table), 10)
}
