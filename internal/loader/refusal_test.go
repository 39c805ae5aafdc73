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

// TestAdviseLockedDown knows a kernel that is locked down by what its verifier says: it gives EINVAL, and a container need not see the
// kernel's lockdown file.
func TestAdviseLockedDown(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"program of this type cannot use helper bpf_probe_read#4":          true, // 6.12
		"program of this type cannot use helper bpf_probe_read_kernel#113": true,
		"unknown func bpf_probe_read_kernel#113":                           true, // 5.10
		"R1 type=ctx expected=fp":                                          false,
	} {
		err := fmt.Errorf("load the BPF programs: %w: %s", unix.EINVAL, text)
		if got := strings.Contains(advise(err).Error(), "locked down to confidentiality"); got != want {
			t.Errorf("%s: named %v, want %v", text, got, want)
		}
	}
}
