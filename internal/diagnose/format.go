package diagnose

import (
	"fmt"
	"strconv"
	"strings"
)

// Seconds formats a time as a report's sentences have it.
func Seconds(s float64) string { return seconds(s) }

// seconds formats a time as people read it in an incident: in ms below a second, three digits at most.
func seconds(s float64) string {
	switch ms := s * 1000; {
	case s >= 100:
		return fmt.Sprintf("%.0f s", s)
	case s >= 1:
		return trim(s, 3) + " s"
	case ms >= 1:
		return trim(ms, 3) + " ms"
	default:
		return trim(ms, 2) + " ms"
	}
}

// trim formats with so many significant digits, without an exponent.
func trim(v float64, digits int) string {
	rounded, _ := strconv.ParseFloat(strconv.FormatFloat(v, 'g', digits, 64), 64)
	return strconv.FormatFloat(rounded, 'f', -1, 64)
}

// percent formats a share. What is nearly all is not said to be all.
func percent(share float64) string {
	text := trim(share*100, 2)
	if text == "100" && share < 1 {
		return ">99 %"
	}
	return text + " %"
}

// bitRate formats bits a second.
func bitRate(bits uint64) string {
	units := []string{"bit/s", "kbit/s", "Mbit/s", "Gbit/s"}
	v, i := float64(bits), 0
	for ; v >= 1000 && i < len(units)-1; i++ {
		v /= 1000
	}
	return trim(v, 3) + " " + units[i]
}

func packets(n uint64) string { return plural(n, "packet") }

func plural(n uint64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "s") {
		noun += "e"
	}
	return group(n) + " " + noun + "s"
}

// verb is the form that goes with so many.
func verb(n uint64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// group puts a comma between thousands.
func group(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
