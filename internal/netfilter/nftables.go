package netfilter

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/google/nftables/userdata"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
	"tracer/internal/rtnl"
)

// families are the protocol families of tables, as nft calls them.
var families = map[uint8]string{
	unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_BRIDGE: "bridge", unix.NFPROTO_NETDEV: "netdev", unix.NFPROTO_ARP: "arp",
}

// chainKey names a chain in a namespace.
type chainKey struct {
	family       uint8
	table, chain string
}

func (c chainKey) compare(other chainKey) int {
	return cmp.Or(cmp.Compare(c.family, other.family), cmp.Compare(c.table, other.table), cmp.Compare(c.chain, other.chain))
}

// ruleset is what is found while nftables' rules are gone through.
type ruleset struct {
	socket *nl.NetlinkSocket
	limit  int // of rules
	rules  []record.Rule
	seen   int // rules of all kinds

	tables map[chainKey]*table     // by a key without a chain
	calls  map[chainKey][]chainKey // by the chain that is called
	hooks  map[chainKey]record.Hooks
	maps   map[chainKey]string   // kube-proxy's maps of Services without endpoints, with the chain that asks them
	mapped map[chainKey][]mapped // rules by the verdict map that decides

	// The chain that the last rule was in: rules come chain by chain.
	at     chainKey
	number int
}

// table is what a table has at the hooks.
type table struct {
	filters []chainKey // chains that see each packet
	nat     bool       // chains that see a connection's first packet, and lose none
}

// readNftables reads nftables' rules that can lose packets, in the calling thread's network namespace. What only NAT's chains call
// is not read: on a big node that is most, by kube-proxy. Where rules change meanwhile the kernel may leave some out: they are read
// again, since one that was left out would seem to be new.
func readNftables(limit int) ([]record.Rule, error) {
	return rtnl.Complete(func() ([]record.Rule, error) { return readNftablesOnce(limit) })
}

func readNftablesOnce(limit int) (rules []record.Rule, err error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open netlink socket of netfilter: %w", err)
	}
	defer socket.Close()
	timeout := unix.NsecToTimeval(socketTimeout.Nanoseconds())
	if err := errors.Join(socket.SetReceiveTimeout(&timeout), socket.SetSendTimeout(&timeout)); err != nil {
		return nil, err
	}
	s := &ruleset{
		socket: socket, limit: limit, tables: map[chainKey]*table{},
		calls: map[chainKey][]chainKey{}, hooks: map[chainKey]record.Hooks{}, maps: map[chainKey]string{}, mapped: map[chainKey][]mapped{},
	}
	err = s.dump(unix.NFT_MSG_GETCHAIN, unix.NFPROTO_UNSPEC, nil, func(family uint8, data []byte) bool {
		s.addChain(family, data)
		return true
	})
	switch {
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EINVAL): // a kernel without nftables
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read nftables' chains: %w", err)
	}
	names := slices.SortedFunc(maps.Keys(s.tables), chainKey.compare) // so that the same are read where there are too many
	for _, name := range names {
		t := s.tables[name]
		if len(t.filters) == 0 {
			continue
		}
		if !t.nat {
			err = errors.Join(err, s.readRules(name.family, attribute(unix.NFTA_RULE_TABLE, name.table)))
			continue
		}
		err = errors.Join(err, s.readCalled(t.filters))
	}
	if err != nil {
		err = fmt.Errorf("read nftables' rules: %w", err)
	}
	if s.seen >= limit {
		err = errors.Join(err, fmt.Errorf("there are more than %d rules of nftables: those beyond were not read", limit))
	}
	for set, chain := range s.maps {
		err = errors.Join(err, s.addElements(set, chain))
	}
	for _, set := range slices.SortedFunc(maps.Keys(s.mapped), chainKey.compare) {
		err = errors.Join(err, s.addMapped(set, s.mapped[set]))
	}
	s.findHooks()
	return s.rules, err
}

// readRules reads a table's rules, or a chain's.
func (s *ruleset) readRules(family uint8, of []byte) error {
	return s.dump(unix.NFT_MSG_GETRULE, family, of, func(family uint8, data []byte) bool {
		s.addRule(family, data)
		return s.seen < s.limit
	})
}

// readCalled reads some chains, and those that they call.
func (s *ruleset) readCalled(chains []chainKey) error {
	read := map[chainKey]bool{}
	for len(chains) > 0 {
		c := chains[0]
		chains = chains[1:]
		if read[c] {
			continue
		}
		read[c] = true
		of := append(attribute(unix.NFTA_RULE_TABLE, c.table), attribute(unix.NFTA_RULE_CHAIN, c.chain)...)
		if err := s.readRules(c.family, of); err != nil {
			return err
		}
		chains = append(chains, s.called(c)...)
	}
	return nil
}

// called are the chains that a chain calls.
func (s *ruleset) called(c chainKey) (to []chainKey) {
	for called, callers := range s.calls {
		if slices.Contains(callers, c) {
			to = append(to, called)
		}
	}
	return to
}

// dump has the kernel list objects, and hands on each. It ends early where that returns false.
func (s *ruleset) dump(message int, family uint8, attributes []byte, take func(family uint8, data []byte) bool) error {
	request := nl.NewNetlinkRequest(unix.NFNL_SUBSYS_NFTABLES<<8|message, unix.NLM_F_DUMP)
	request.AddRawData(append([]byte{family, unix.NFNETLINK_V0, 0, 0}, attributes...))
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: {Socket: s.socket, Seq: uint32(message)}}
	return request.ExecuteIter(unix.NETLINK_NETFILTER, 0, func(data []byte) bool {
		return len(data) < 4 || take(data[0], data[4:])
	})
}

// addChain takes a chain: where its hook is, and its policy, which may be to drop.
func (s *ruleset) addChain(family uint8, data []byte) {
	r := record.Rule{Family: families[family], Verdict: record.VerdictDrop}
	hook, drops, nat := -1, false, false
	for kind, value := range rtnl.Attributes(data) {
		switch kind {
		case unix.NFTA_CHAIN_TABLE:
			r.Table = text(value)
		case unix.NFTA_CHAIN_NAME:
			r.Chain = text(value)
		case unix.NFTA_CHAIN_HOOK:
			for kind, value := range rtnl.Attributes(value) {
				if kind == unix.NFTA_HOOK_HOOKNUM && len(value) == 4 {
					hook = int(binary.BigEndian.Uint32(value))
				}
			}
		case unix.NFTA_CHAIN_POLICY:
			drops = len(value) == 4 && binary.BigEndian.Uint32(value) == 0
		case unix.NFTA_CHAIN_TYPE:
			nat = is(value, "nat")
		case unix.NFTA_CHAIN_COUNTERS:
			r.Packets, r.Counted = counted(value)
		}
	}
	if hook < 0 {
		return
	}
	key := chainKey{family, r.Table, r.Chain}
	s.hooks[key] = record.AnyHook
	if family != unix.NFPROTO_NETDEV && hook < len(builtIn) {
		s.hooks[key] = 1 << hook
	}
	name := chainKey{family: family, table: r.Table}
	if s.tables[name] == nil {
		s.tables[name] = &table{}
	}
	if nat {
		s.tables[name].nat = true
	} else {
		s.tables[name].filters = append(s.tables[name].filters, key)
	}
	if drops {
		s.rules = append(s.rules, r)
	}
}

// counted reads a counter's attributes.
func counted(data []byte) (n uint64, ok bool) {
	for kind, value := range rtnl.Attributes(data) {
		if kind == unix.NFTA_COUNTER_PACKETS && len(value) == 8 {
			n, ok = binary.BigEndian.Uint64(value), true
		}
	}
	return n, ok
}

// addRule takes a rule if it may lose packets, and notes which chains it calls. Most rules of a big node do neither: nothing is
// allocated for them.
func (s *ruleset) addRule(family uint8, data []byte) {
	s.seen++
	var table, chain, expressions, comment []byte
	handle := uint64(0)
	for kind, value := range rtnl.Attributes(data) {
		switch kind {
		case unix.NFTA_RULE_TABLE:
			table = value
		case unix.NFTA_RULE_CHAIN:
			chain = value
		case unix.NFTA_RULE_HANDLE:
			if len(value) == 8 {
				handle = binary.BigEndian.Uint64(value)
			}
		case unix.NFTA_RULE_EXPRESSIONS:
			expressions = value
		case unix.NFTA_RULE_USERDATA:
			comment = value
		}
	}
	if family != s.at.family || !is(table, s.at.table) || !is(chain, s.at.chain) {
		s.at, s.number = chainKey{family, text(table), text(chain)}, 0
	}
	s.number++
	loses := false
	var byMap []byte
	for name, data := range expressionsOf(expressions) {
		loses = loses || s.look(string(name), data)
		if string(name) == "lookup" && byMap == nil {
			byMap = verdictMap(data)
		}
	}
	if !loses && byMap == nil {
		return
	}
	r := record.Rule{Family: families[family], Table: s.at.table, Chain: s.at.chain, Handle: handle, Number: s.number}
	by := decode(&r, family, expressions)
	if r.Comment == "" && validUserData(comment) {
		r.Comment, _ = userdata.GetString(comment, userdata.TypeComment)
	}
	if loses {
		s.rules = append(s.rules, r)
		return
	}
	set := chainKey{family, s.at.table, text(byMap)}
	if _, isKubeProxys := s.maps[set]; !isKubeProxys && (s.mapped[set] != nil || len(s.mapped) < maxVerdictMaps) {
		s.mapped[set] = append(s.mapped[set], mapped{r, by})
	}
}

// look tells whether an expression may lose a packet, and notes which chain or map it leads to.
func (s *ruleset) look(name string, data []byte) (loses bool) {
	switch name {
	case "reject", "queue":
		return true
	case "target":
		for kind, value := range rtnl.Attributes(data) {
			if kind == unix.NFTA_TARGET_NAME && targetVerdict(text(value)) != "" {
				return true
			}
		}
	case "immediate":
		code, chain := verdictOf(data, unix.NFTA_IMMEDIATE_DATA)
		if chain != nil {
			to := chainKey{s.at.family, s.at.table, text(chain)}
			if calls := s.calls[to]; len(calls) == 0 || calls[len(calls)-1] != s.at {
				s.calls[to] = append(calls, s.at)
			}
		}
		return code&verdictMask == nfDrop || code&verdictMask == nfQueue
	case "lookup":
		for kind, value := range rtnl.Attributes(data) {
			if kind == unix.NFTA_LOOKUP_SET && strings.HasPrefix(text(value), noEndpointMaps) && len(s.maps) < maxMaps {
				s.maps[chainKey{s.at.family, s.at.table, text(value)}] = s.at.chain
			}
		}
	}
	return false
}

// noEndpointMaps begins the names of the maps in which kube-proxy has the Services without endpoints, in its nftables mode.
const noEndpointMaps = "no-endpoint-"

const (
	nfDrop, nfQueue = 0, 3 // linux/netfilter.h
	verdictMask     = 0xff // of a code, beside flags
	noVerdict       = 0xff // none of those
	maxMaps         = 8
)

// verdictOf is the code of a verdict, and the chain that it calls. Codes of calls and returns are negative.
func verdictOf(data []byte, attribute int) (code uint32, chain []byte) {
	code = noVerdict
	for kind, value := range rtnl.Attributes(data) {
		if kind != attribute {
			continue
		}
		for kind, value := range rtnl.Attributes(value) {
			if kind != unix.NFTA_DATA_VERDICT {
				continue
			}
			for kind, value := range rtnl.Attributes(value) {
				switch {
				case kind == unix.NFTA_VERDICT_CODE && len(value) == 4:
					if code = binary.BigEndian.Uint32(value); int32(code) < 0 {
						code = noVerdict
					}
				case kind == unix.NFTA_VERDICT_CHAIN:
					chain = value
				}
			}
		}
	}
	return code, chain
}

// findHooks finds out from which hooks the rules' chains are called. One that a map alone leads to may be called from any.
func (s *ruleset) findHooks() {
	var find func(chain chainKey, depth int) record.Hooks
	find = func(chain chainKey, depth int) record.Hooks {
		if hooks, ok := s.hooks[chain]; ok {
			return hooks
		}
		s.hooks[chain] = 0 // calls are never circular
		var hooks record.Hooks
		for _, caller := range s.calls[chain] {
			hooks |= find(caller, depth+1)
		}
		if hooks == 0 {
			hooks = record.AnyHook
		}
		s.hooks[chain] = hooks
		return hooks
	}
	numbers := map[string]uint8{}
	for number, name := range families {
		numbers[name] = number
	}
	for i := range s.rules {
		r := &s.rules[i]
		r.Hooks = find(chainKey{numbers[r.Family], r.Table, r.Chain}, 0)
	}
}
