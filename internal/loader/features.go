package loader

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
)

// Features is what the running kernel offers to the programs. It is probed from its type information, never from
// its version.
type Features struct {
	// Tracepoints holds the names of those that exist, among the ones that the programs can use.
	Tracepoints map[string]bool
	// TCX is the attachment of tc programs without a qdisc (6.6).
	TCX bool
	// DropReasons tells whether kfree_skb says why (5.17).
	DropReasons bool
}

// errUnsupported is wrapped by errors about a kernel that lacks what tracing cannot do without.
var errUnsupported = errors.New("not supported by this kernel")

// ProbeFeatures reads the kernel's type information (BTF). Without it there is no tracing, and an error.
func ProbeFeatures() (Features, error) { return probeFeatures(btf.NewCache()) }

func probeFeatures(types *btf.Cache) (Features, error) {
	spec, err := types.Kernel()
	if err != nil {
		if errors.Is(err, ebpf.ErrNotSupported) || errors.Is(err, btf.ErrNotFound) {
			err = fmt.Errorf("%w: %w", errUnsupported, err)
		}
		return Features{}, fmt.Errorf("read the kernel's type information from /sys/kernel/btf/vmlinux "+
			"(the kernel needs CONFIG_DEBUG_INFO_BTF): %w", err)
	}
	return featuresOf(spec), nil
}

func featuresOf(spec *btf.Spec) Features {
	f := Features{Tracepoints: map[string]bool{}}
	for _, t := range append(tracepoints[:], podQueueTracepoint) {
		var def *btf.Typedef
		f.Tracepoints[t.tracepoint] = spec.TypeByName("btf_trace_"+t.tracepoint, &def) == nil
	}
	var reasons *btf.Enum
	f.DropReasons = spec.TypeByName("skb_drop_reason", &reasons) == nil
	var attach *btf.Enum
	if spec.TypeByName("bpf_attach_type", &attach) == nil {
		for _, v := range attach.Values {
			f.TCX = f.TCX || v.Name == "BPF_TCX_INGRESS"
		}
	}
	return f
}
