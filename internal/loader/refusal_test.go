package loader

import (
	"strings"
	"testing"
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
