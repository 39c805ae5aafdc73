package lab

import (
	"strings"
	"testing"
	"time"
)

func TestParseRate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]uint64{
		"50kbit": 50_000, "50Kbit": 50_000, "1.5mbit": 1_500_000, "1gbit": 1e9, "800bit": 800, "8bit": 8,
	} {
		got, err := ParseRate(in)
		if err != nil || got != want {
			t.Errorf("ParseRate(%q) = %d, %v; want %d", in, got, err, want)
		}
		if again, err := ParseRate(formatRate(got)); err != nil || again != got {
			t.Errorf("ParseRate(formatRate(%d)) = %d, %v", got, again, err)
		}
	}
	for _, bad := range []string{"", "50", "50kb", "kbit", "-1kbit", "0bit", "7bit", "NaNbit", "infgbit", "9999gbit", "50 kbit x"} {
		if got, err := ParseRate(bad); err == nil || !strings.Contains(err.Error(), "rate") {
			t.Errorf("ParseRate(%q) = %d, %v; want an error that says what", bad, got, err)
		}
	}
}

func TestParseLoss(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]float64{"0%": 0, "10%": 0.1, "0.5%": 0.005, "100%": 1} {
		if got, err := ParseLoss(in); err != nil || got != want {
			t.Errorf("ParseLoss(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "10", "0.1", "%", "-1%", "101%", "NaN%", "ten%"} {
		if got, err := ParseLoss(bad); err == nil || !strings.Contains(err.Error(), "loss") {
			t.Errorf("ParseLoss(%q) = %v, %v; want an error that says what", bad, got, err)
		}
	}
}

func TestParseSize(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]uint64{"125000": 125000, "125kb": 128000, "1mb": 1 << 20, "100b": 100} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "kb", "-1", "0", "5gb", "1e30", "NaN"} {
		if got, err := ParseSize(bad); err == nil || !strings.Contains(err.Error(), "size") {
			t.Errorf("ParseSize(%q) = %v, %v; want an error that says what", bad, got, err)
		}
	}
}

func TestFormatDelay(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Duration]string{
		90 * time.Second: "90s", 500 * time.Millisecond: "500ms", 1500 * time.Microsecond: "1500us",
	} {
		if got := formatDelay(in); got != want {
			t.Errorf("formatDelay(%v) = %q, want %q", in, got, want)
		}
	}
}
