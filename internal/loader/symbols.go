package loader

import (
	"strconv"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// kernelSymbols names drop reasons by the running kernel's type information, and code addresses by its symbol
// table. It is used by the reader alone.
type kernelSymbols struct {
	reasons   map[uint32]string
	functions *functions
}

func newKernelSymbols(types *btf.Cache, f *functions) *kernelSymbols {
	s := &kernelSymbols{reasons: map[uint32]string{}, functions: f}
	if spec, err := types.Kernel(); err == nil {
		s.addReasons(spec, "skb_drop_reason")
		s.addReasons(spec, "qdisc_drop_reason")
	}
	// Subsystems in modules have their types there, if they are loaded.
	for module, enum := range map[string]string{"openvswitch": "ovs_drop_reason", "mac80211": "mac80211_drop_reason"} {
		if spec, err := types.Module(module); err == nil {
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

// ipsecSplit is where the code is that splits large packets for IPsec, and its size; zeros if there is none.
func (s *kernelSymbols) ipsecSplit() [2]uint64 {
	table := s.functions.table.Load()
	start, size := table.find("xfrm_output_gso")
	if size == 0 {
		start, size = table.find("xfrm_output") // the compiler has put it there
	}
	return [2]uint64{start, size}
}

// location names the function that holds a code address; "" where it is not known, or the symbol table not readable.
func (s *kernelSymbols) location(address uint64) string { return s.functions.at(address) }
