package top

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"tracer/internal/format"
	"tracer/internal/overview"
)

// si writes a number in at most five columns: 0, 0.4, 12, 950, 1.2k, 34k, 5.6M.
func si(v float64) string {
	if v < 999.5 && v == math.Trunc(v) {
		return strconv.Itoa(int(v))
	}
	suffixes := []string{"", "k", "M", "G", "T"}
	i := 0
	for ; v >= 999.5 && i < len(suffixes)-1; i++ {
		v /= 1000
	}
	if v < 9.95 {
		return strconv.FormatFloat(v, 'f', 1, 64) + suffixes[i]
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + suffixes[i]
}

// p50 and p99 write a delay's; "-" if there is none.
func p50(d *overview.Delay) string {
	if d == nil {
		return "-"
	}
	return format.Seconds(d.P50)
}

// rtt writes a row's mean round trip; "" if there is none.
func rtt(t *overview.TCP) string {
	if t == nil || t.RTTMean == nil {
		return ""
	}
	return format.Seconds(*t.RTTMean)
}

func p99(d *overview.Delay) string {
	if d == nil {
		return "-"
	}
	return format.Seconds(d.P99)
}

// age writes how long ago something was, in the two largest units.
func age(d time.Duration) string {
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", int(d.Hours())/24, int(d.Hours())%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	}
	return fmt.Sprintf("%ds", int(d.Seconds()))
}

// usualText is a p50 that is nothing to report: the baseline, else "≤" and the threshold; "" if neither is known.
func usualText(baseline, warnAbove *float64) string {
	switch {
	case baseline != nil:
		return format.Seconds(*baseline)
	case warnAbove != nil:
		return "≤" + format.Seconds(*warnAbove)
	}
	return ""
}
