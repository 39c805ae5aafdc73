package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"unsafe"

	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// layout is how iptables' old interface has tables and rules, for one family (linux/netfilter_ipv4/ip_tables.h, …ipv6/ip6_tables.h).
type layout struct {
	family        uint8
	domain, level int
	names         string // the file with the tables' names
	addressBytes  int
	inverted      int // offset of the flags that invert
	offsets       int // of target_offset and next_offset
	counters      int
	header        int // of a rule, up to its matches
}

var (
	legacy4 = layout{
		family: unix.NFPROTO_IPV4, domain: unix.AF_INET, level: unix.SOL_IP, names: "ip_tables_names",
		addressBytes: 4, inverted: 83, offsets: 88, counters: 96, header: 112,
	}
	legacy6 = layout{
		family: unix.NFPROTO_IPV6, domain: unix.AF_INET6, level: unix.SOL_IPV6, names: "ip6_tables_names",
		addressBytes: 16, inverted: 132, offsets: 140, counters: 152, header: 168,
	}
)

const (
	getInfo, getEntries = 64, 65 // IPT_SO_GET_INFO and …ENTRIES, and their like of IPv6
	infoBytes           = 84     // struct ipt_getinfo
	entriesHeader       = 40     // struct ipt_get_entries
	extensionHeader     = 32     // struct xt_entry_match, xt_entry_target
	maxTableBytes       = 64 << 20
)

// readLegacy adds the rules of the old iptables, in the calling thread's network namespace. Only tables that are there are asked
// for: the kernel would make others.
func readLegacy(l *layout, limit int) (rules []record.Rule, err error) {
	names, err := os.ReadFile("/proc/thread-self/net/" + l.names)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	tables := strings.Fields(string(names))
	if len(tables) == 0 {
		return nil, nil
	}
	fd, err := unix.Socket(l.domain, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0) // a raw one, as iptables has, takes CAP_NET_RAW
	if err != nil {
		return nil, fmt.Errorf("open a socket: %w", err)
	}
	defer unix.Close(fd)
	for _, table := range tables {
		if table == "nat" {
			continue // it loses no packet, and is the largest
		}
		found, e := l.readTable(fd, table, limit)
		if e != nil {
			err = errors.Join(err, fmt.Errorf("read iptables' table %s: %w", table, e))
		}
		rules = append(rules, found...)
	}
	return rules, err
}

// readTable reads a table. One that changes meanwhile is read again.
func (l *layout) readTable(fd int, table string, limit int) ([]record.Rule, error) {
	for try := 0; ; try++ {
		info := make([]byte, infoBytes)
		copy(info, table)
		if err := getsockopt(fd, l.level, getInfo, info); err != nil {
			return nil, err
		}
		size, n := int(binary.NativeEndian.Uint32(info[80:])), int(binary.NativeEndian.Uint32(info[76:]))
		if n > limit || size > maxTableBytes {
			return nil, fmt.Errorf("%d rules are more than %d: not read", n, limit)
		}
		block := make([]byte, entriesHeader+size)
		copy(block, table)
		binary.NativeEndian.PutUint32(block[32:], uint32(size))
		switch err := getsockopt(fd, l.level, getEntries, block); {
		case errors.Is(err, unix.EAGAIN) && try < 3:
			continue
		case err != nil:
			return nil, err
		}
		return l.parse(table, info, block[entriesHeader:]), nil
	}
}

func getsockopt(fd, level, option int, block []byte) error {
	size := uint32(len(block))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(block))), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// builtIn are the chains at the hooks, by the hooks' numbers.
var builtIn = [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// parse goes through a table's rules. A chain begins at a hook's offset, or behind a rule whose target is called ERROR and names it;
// it ends with its policy.
func (l *layout) parse(table string, info, entries []byte) (rules []record.Rule) {
	starts, policies := map[int]string{}, map[int]bool{}
	hooks := map[string]record.Hooks{}
	for hook, name := range builtIn {
		if binary.NativeEndian.Uint32(info[32:])&(1<<hook) != 0 {
			starts[int(binary.NativeEndian.Uint32(info[36+4*hook:]))] = name
			policies[int(binary.NativeEndian.Uint32(info[56+4*hook:]))] = true
			hooks[name] = 1 << hook
		}
	}
	chain, number := "", 0
	chainAt := map[int]string{}        // by the offset of the first rule
	calls := map[int]map[string]bool{} // by that too, from which chains
	for at := 0; at+l.header <= len(entries); {
		e := entries[at:]
		target, next := int(binary.NativeEndian.Uint16(e[l.offsets:])), int(binary.NativeEndian.Uint16(e[l.offsets+2:]))
		if next < l.header+extensionHeader || target < l.header || target+extensionHeader > next || next > len(e) {
			break
		}
		if name, ok := starts[at]; ok {
			chain, number = name, 0
		}
		e = e[:next]
		name := text(e[target+2 : target+2+29])
		if name == "ERROR" {
			chain, number = text(e[target+extensionHeader:]), 0
			chainAt[at+next] = chain
			at += next
			continue
		}
		number++
		r := record.Rule{
			Legacy: true, Family: families[l.family], Table: table, Chain: chain, Number: number,
			Counted: true, Packets: binary.NativeEndian.Uint64(e[l.counters:]),
		}
		if policies[at] {
			r.Number = 0
		}
		if name == "" && target+extensionHeader+4 <= next {
			switch verdict := int32(binary.NativeEndian.Uint32(e[target+extensionHeader:])); {
			case verdict == -nfDrop-1:
				r.Verdict = record.VerdictDrop
			case verdict >= 0:
				to := int(verdict)
				if calls[to] == nil {
					calls[to] = map[string]bool{}
				}
				calls[to][chain] = true
			}
		} else {
			info := xt.Unknown(e[target+extensionHeader:])
			setTarget(&r, name, uint32(e[target+31]), &info)
		}
		if r.Verdict != "" {
			l.decode(&r, e[:target])
			rules = append(rules, r)
		}
		at += next
	}
	callers := map[string][]string{}
	for at, from := range calls {
		for name := range from {
			callers[chainAt[at]] = append(callers[chainAt[at]], name)
		}
	}
	var find func(chain string) record.Hooks
	find = func(chain string) record.Hooks {
		if h, ok := hooks[chain]; ok {
			return h
		}
		hooks[chain] = 0
		var h record.Hooks
		for _, from := range callers[chain] {
			h |= find(from)
		}
		hooks[chain] = h
		return h
	}
	for i := range rules {
		rules[i].Hooks = find(rules[i].Chain)
	}
	return rules
}

// decode fills in what a rule matches.
func (l *layout) decode(r *record.Rule, e []byte) {
	n := l.addressBytes
	address := func(at int, not byte) record.AddressMatch {
		a, _ := netip.AddrFromSlice(e[at : at+n])
		bits := prefixLength(e[at+2*n : at+3*n])
		if bits <= 0 {
			return record.AddressMatch{}
		}
		return record.AddressMatch{Prefix: netip.PrefixFrom(a, bits), Not: e[l.inverted]&not != 0}
	}
	const notSource, notDestination, notProtocol = 0x08, 0x10, 0x40 // IPT_INV_…
	r.Match.Source, r.Match.Destination = address(0, notSource), address(n, notDestination)
	if e[l.inverted]&notProtocol == 0 {
		r.Match.Protocol = record.Protocol(e[4*n+64])
	}
	for at := l.header; at+extensionHeader <= len(e); {
		size := int(binary.NativeEndian.Uint16(e[at:]))
		if size < extensionHeader || at+size > len(e) {
			return
		}
		name, revision := text(e[at+2:at+2+29]), uint32(e[at+31])
		if info, err := xt.Unmarshal(name, xt.TableFamily(l.family), revision, e[at+extensionHeader:at+size]); err == nil {
			addMatch(r, name, revision, info)
		}
		at += size
	}
}
