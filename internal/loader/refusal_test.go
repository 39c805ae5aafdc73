package loader

import (
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWhyRefused(t *testing.T) {
	t.Parallel()
	const all, none = "CapEff:\t000001ffffffffff\nSeccomp:\t0\n", "CapEff:\t0000000000000000\nSeccomp:\t2\n"
	for _, test := range []struct{ status, lockdown, want string }{
		{none, "", "run it as root"},
		{all, "none integrity [confidentiality]\n", "locked down to confidentiality"},
		{all, "none [integrity] confidentiality\n", "a security module"},
		{strings.Replace(all, "\t0\n", "\t2\n", 1), "[none] integrity confidentiality\n", "a seccomp profile"},
		{"CapEff:\t000000c000001000\nSeccomp:\t2\n", "", "a seccomp profile"}, // BPF, PERFMON, NET_ADMIN
		{"CapEff:\t0000008000001000\nSeccomp:\t2\n", "", "run it as root"},    // without PERFMON
		{"", "", "run it as root"},
	} {
		if got := whyRefused(test.status, test.lockdown); !strings.Contains(got, test.want) {
			t.Errorf("%q, %q: %s", test.status, test.lockdown, got)
		}
	}
}

// TestAdviceForHelpers: a helper that is refused has no error of its own. Who lacks a capability is told so, whichever helper it was; the others
// have a kernel that is locked down, which a container need not see in the kernel's file, or one that has no such helper.
func TestAdviceForHelpers(t *testing.T) {
	t.Parallel()
	const all, few = "CapEff:\t000001ffffffffff\n", "CapEff:\t0000008000001000\n" // without CAP_PERFMON
	for _, test := range []struct{ text, status, want string }{
		{"program of this type cannot use helper bpf_probe_read#4", all, "locked down to confidentiality"}, // 6.12
		{"program of this type cannot use helper bpf_probe_read_kernel#113", all, "locked down to confidentiality"},
		{"unknown func bpf_probe_read_kernel#113", all, "locked down to confidentiality"}, // 5.10
		{"program of this type cannot use helper bpf_probe_read_kernel#113", few, "lacks CAP_PERFMON"},
		{"program of this type cannot use helper bpf_skc_to_tcp_sock#137", few, "lacks CAP_PERFMON"},
		{"unknown func bpf_skc_to_tcp_sock#137", all, ""},
		{"R1 type=ctx expected=fp", few, ""},
	} {
		got := adviceFor(fmt.Errorf("load the BPF programs: %w: %s", unix.EINVAL, test.text), test.status, "")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: %q, want %q", test.text, got, test.want)
		}
	}
}
