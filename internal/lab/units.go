package lab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// ParseRate reads a rate as tc(8) writes it ("50kbit", "1.5mbit", "1gbit", "800bit") and returns bits per
// second.
func ParseRate(s string) (uint64, error) {
	units := []struct {
		suffix string
		bits   float64
	}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}, {"bit", 1}}
	for _, u := range units {
		number, ok := strings.CutSuffix(strings.ToLower(s), u.suffix)
		if !ok {
			continue
		}
		bits, err := strconv.ParseFloat(number, 64)
		bits *= u.bits
		if err != nil || !(bits >= 8) || bits > 1e12 {
			return 0, fmt.Errorf("rate %q: choose 8bit (a byte a second) to 1000gbit", s)
		}
		return uint64(math.Round(bits)), nil
	}
	return 0, fmt.Errorf("rate %q: write a number with bit, kbit, mbit or gbit, for example 50kbit", s)
}

// formatRate writes bits per second for tc(8), exactly.
func formatRate(bits uint64) string {
	for _, u := range []struct {
		suffix string
		bits   uint64
	}{{"gbit", 1e9}, {"mbit", 1e6}, {"kbit", 1e3}} {
		if bits >= u.bits && bits%u.bits == 0 {
			return strconv.FormatUint(bits/u.bits, 10) + u.suffix
		}
	}
	return strconv.FormatUint(bits, 10) + "bit"
}

// ParseLoss reads a share in percent ("10%") and returns it as 0 to 1.
func ParseLoss(s string) (float64, error) {
	number, ok := strings.CutSuffix(s, "%")
	if !ok {
		return 0, fmt.Errorf("loss %q: write it in percent, for example 10%%", s)
	}
	percent, err := strconv.ParseFloat(number, 64)
	if err != nil || !(percent >= 0 && percent <= 100) {
		return 0, fmt.Errorf("loss %q: choose 0%% to 100%%", s)
	}
	return percent / 100, nil
}

func formatLoss(ratio float64) string {
	return strconv.FormatFloat(ratio*100, 'f', 2, 64) + "%"
}

// ParseSize reads a size as tc(8) writes it ("125000", "125kb", "1mb", where kb is 1024) and returns bytes.
func ParseSize(s string) (uint64, error) {
	number, factor := strings.ToLower(s), 1.0
	for _, u := range []struct {
		suffix string
		bytes  float64
	}{{"kb", 1 << 10}, {"mb", 1 << 20}, {"b", 1}} {
		if n, ok := strings.CutSuffix(number, u.suffix); ok {
			number, factor = n, u.bytes
			break
		}
	}
	bytes, err := strconv.ParseFloat(number, 64)
	bytes *= factor
	if err != nil || !(bytes >= 1) || bytes > math.MaxUint32 {
		return 0, fmt.Errorf("size %q: write bytes up to 4 GiB, for example 125000, 125kb or 1mb", s)
	}
	return uint64(bytes), nil
}

// formatDelay writes a time for tc(8), which takes no sums such as 1m30s.
func formatDelay(d time.Duration) string {
	switch {
	case d%time.Second == 0:
		return strconv.FormatInt(int64(d/time.Second), 10) + "s"
	case d%time.Millisecond == 0:
		return strconv.FormatInt(int64(d/time.Millisecond), 10) + "ms"
	}
	return strconv.FormatInt(d.Microseconds(), 10) + "us"
}
