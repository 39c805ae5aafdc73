package diagnose

import (
	"testing"
)

func TestFormat(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{
		0.00002: "0.02 ms", 0.0000213: "0.021 ms", 0.00094: "0.94 ms", 0.0021: "2.1 ms", 0.5014: "501 ms",
		0.9999: "1000 ms", 1.52: "1.52 s", 18.23: "18.2 s", 250.4: "250 s", 0: "0 ms",
	} {
		if got := seconds(s); got != want {
			t.Errorf("seconds(%v) = %q, want %q", s, got, want)
		}
	}
	for share, want := range map[float64]string{0.1: "10 %", 0.0764: "7.6 %", 0.9999: ">99 %", 1: "100 %", 0.0002: "0.02 %"} {
		if got := percent(share); got != want {
			t.Errorf("percent(%v) = %q, want %q", share, got, want)
		}
	}
	if got := group(1234567); got != "1,234,567" {
		t.Error(got)
	}
	if got := plural(1, "address") + ", " + plural(2, "address") + ", " + plural(1200, "packet"); got != "1 address, 2 addresses, 1,200 packets" {
		t.Error(got)
	}
}
