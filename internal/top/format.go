package top

import (
	"fmt"
	"math"
	"strconv"
	"strings"
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

// p50 and p99 write a delay's, or that there is none.
func p50(d *overview.Delay) string {
	if d == nil {
		return "-"
	}
	return format.Seconds(d.P50)
}

// rtt writes a row's mean round trip; nothing where there is none, as for what is no TCP.
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

// bar divides columns among a row's stages by their share of the time. Each boundary is rounded once, so that the
// parts always fill the bar.
func (s *styles) bar(stages []overview.Stage, width int) string {
	var b strings.Builder
	var sum float64
	at := 0
	for i := range stages {
		sum += stages[i].Share
		end := min(width, int(sum*float64(width)+0.5))
		if end > at {
			b.WriteString(s.stage(stages[i].Stage, strings.Repeat(s.block(stages[i].Stage), end-at)))
			at = end
		}
	}
	return b.String()
}

// spark draws a trend's last points as heights of the highest of them; what is unknown is a gap.
func spark(points []*float64, width int) string {
	points = points[max(0, len(points)-width):]
	var top float64
	for _, p := range points {
		if p != nil {
			top = max(top, *p)
		}
	}
	levels := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, p := range points {
		switch {
		case p == nil:
			b.WriteByte(' ')
		case top == 0:
			b.WriteRune(levels[0])
		default:
			b.WriteRune(levels[min(len(levels)-1, int(*p/top*float64(len(levels))))])
		}
	}
	return b.String()
}

// usualText is a usual p50: as it was learnt, else up to which nothing is said; "" if neither is known.
func usualText(baseline, limit *float64) string {
	switch {
	case baseline != nil:
		return format.Seconds(*baseline)
	case limit != nil:
		return "≤" + format.Seconds(*limit)
	}
	return ""
}
