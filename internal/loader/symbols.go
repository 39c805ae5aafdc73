package loader

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// maxSymbols bounds the cache of resolved locations; there are some hundred callers of kfree_skb in a kernel.
const maxSymbols = 4096

// kernelSymbols names drop reasons by the running kernel's type information, and code addresses by its symbol
// table. The table is read anew for each address not met before, which keeps its millions of bytes out of our
// memory. It is used by the reader alone.
type kernelSymbols struct {
	reasons   map[uint32]string
	locations map[uint64]string
	open      func() (io.ReadCloser, error)
}

func newKernelSymbols() *kernelSymbols {
	s := &kernelSymbols{
		reasons:   map[uint32]string{},
		locations: map[uint64]string{},
		open:      func() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") },
	}
	if spec, err := btf.LoadKernelSpec(); err == nil {
		s.addReasons(spec, "skb_drop_reason")
		s.addReasons(spec, "qdisc_drop_reason")
	}
	// Subsystems in modules have their types there, if they are loaded.
	for module, enum := range map[string]string{"openvswitch": "ovs_drop_reason", "mac80211": "mac80211_drop_reason"} {
		if spec, err := btf.LoadKernelModuleSpec(module); err == nil {
			s.addReasons(spec, enum)
		}
	}
	return s
}

// addReasons takes the reasons of an enum. Those of a subsystem have its number in their upper half, and a first
// value, with nothing in the lower half, that no drop has.
func (s *kernelSymbols) addReasons(spec *btf.Spec, enum string) {
	var reasons *btf.Enum
	if spec.TypeByName(enum, &reasons) != nil {
		return
	}
	subsystem := enum != "skb_drop_reason"
	for _, v := range reasons.Values {
		number := uint32(v.Value)
		if subsystem && (number>>16 == 0 || number&0xffff == 0) {
			continue
		}
		s.reasons[number] = strings.TrimPrefix(v.Name, "SKB_DROP_REASON_")
	}
}

// ignored are the bits of the reasons that mean no loss at all and are not worth a record.
func (s *kernelSymbols) ignored() (bits [4]uint64) {
	for number, name := range s.reasons {
		if number < 256 && (name == "SKB_CONSUMED" || name == "SKB_NOT_DROPPED_YET") {
			bits[number/64] |= 1 << (number % 64)
		}
	}
	return bits
}

// reason names a drop reason; "" where the kernel gives none, a number where it has no name.
func (s *kernelSymbols) reason(number uint32) string {
	if name, ok := s.reasons[number]; ok {
		return name
	}
	if number == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(number), 10)
}

// location names the function that holds a code address; "" where the symbol table is not readable.
func (s *kernelSymbols) location(address uint64) string {
	if name, ok := s.locations[address]; ok {
		return name
	}
	if len(s.locations) >= maxSymbols {
		clear(s.locations)
	}
	name := ""
	if f, err := s.open(); err == nil {
		name, _ = findSymbol(f, address)
		f.Close()
	}
	s.locations[address] = name
	return name
}

// findSymbol reads a symbol table in the format of /proc/kallsyms, which is not sorted, for the function that
// begins at or nearest before an address.
func findSymbol(table io.Reader, address uint64) (string, error) {
	var best uint64
	var name string
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// ffffffff81000000 T _stext [module]
		line := lines.Bytes()
		if len(line) < 20 || (line[17] != 't' && line[17] != 'T') {
			continue
		}
		start, err := strconv.ParseUint(string(line[:16]), 16, 64)
		if err != nil {
			return "", fmt.Errorf("symbol table: %w", err)
		}
		if start <= address && start > best {
			best = start
			name, _, _ = strings.Cut(string(line[19:]), "\t")
		}
	}
	return name, lines.Err()
}
