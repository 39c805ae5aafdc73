package loader

import (
	"bytes"
	"testing"

	"github.com/cilium/ebpf/btf"
)

// TestReasons reads the names from the running kernel.
func TestReasons(t *testing.T) {
	t.Parallel()
	s := newKernelSymbols(btf.NewCache(), &functions{})
	if len(s.reasons) == 0 {
		f, err := ProbeFeatures()
		if err != nil || f.DropReasons {
			t.Fatalf("no reason was read: %+v, %v", f, err)
		}
		return
	}
	found := map[string]bool{}
	for number, name := range s.reasons {
		found[name] = true
		if got := s.reason(number); got != name {
			t.Errorf("reason %d is %q and %q", number, got, name)
		}
	}
	for _, want := range []string{"NOT_SPECIFIED", "NO_SOCKET", "QDISC_DROP", "NETFILTER_DROP"} {
		if !found[want] {
			t.Errorf("the kernel's reasons have no %s", want)
		}
	}
	if got := s.reason(9999); got != "9999" {
		t.Errorf("a reason without a name is %q, want its number", got)
	}
}

// TestReasonsOfSubsystems reads the reasons of the kernel's core and of a subsystem from type information.
func TestReasonsOfSubsystems(t *testing.T) {
	t.Parallel()
	builder, err := btf.NewBuilder([]btf.Type{
		&btf.Enum{Name: "skb_drop_reason", Size: 4, Values: []btf.EnumValue{
			{Name: "SKB_DROP_REASON_NOT_SPECIFIED", Value: 2}, {Name: "SKB_DROP_REASON_SUBSYS_MASK", Value: 0xffff0000},
		}},
		&btf.Enum{Name: "qdisc_drop_reason", Size: 4, Values: []btf.EnumValue{
			{Name: "QDISC_DROP_UNSPEC", Value: 0}, {Name: "__QDISC_DROP_REASON", Value: 4 << 16}, {Name: "QDISC_DROP_CONGESTED", Value: 4<<16 + 3},
		}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := builder.Marshal(nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := btf.LoadSpecFromReader(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	s := &kernelSymbols{reasons: map[uint32]string{}}
	s.addReasons(spec, "skb_drop_reason")
	s.addReasons(spec, "qdisc_drop_reason")
	s.addReasons(spec, "not there")
	for number, want := range map[uint32]string{
		0: "", 2: "NOT_SPECIFIED", 3: "3", 4 << 16: "262144", 4<<16 + 3: "QDISC_DROP_CONGESTED",
	} {
		if got := s.reason(number); got != want {
			t.Errorf("reason %d is %q, want %q", number, got, want)
		}
	}
}
