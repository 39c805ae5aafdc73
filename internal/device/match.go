package device

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"tracer/internal/netdev"
)

// errNoMatch tells that a pattern matches no device at present.
var errNoMatch = errors.New("no such device")

// Match selects devices by the patterns of --devices and sets Leaves anew among those selected. A pattern is a glob
// as in package path ("eth*"); if there are such, only devices matching one of them stay. "uplink=ens*" gives the
// devices a role (the last such pattern that matches wins) and keeps them as well.
//
// The error tells of all patterns that are malformed, or that match nothing. In the latter case the result is valid all
// the same: later the devices may be there.
func Match(patterns []string, devices []netdev.Device) ([]netdev.Device, error) {
	parsed, err := parsePatterns(patterns)
	if err != nil {
		return nil, err
	}
	plain := slices.ContainsFunc(parsed, func(p pattern) bool { return !p.override })
	used := make([]bool, len(parsed))
	var selected []netdev.Device
	for _, d := range devices {
		keep := !plain
		for i, p := range parsed {
			// It was found to be well-formed.
			if matches, _ := path.Match(p.glob, d.Name); !matches {
				continue
			}
			used[i], keep = true, true
			if p.override {
				d.Role = p.role
			}
		}
		if keep {
			selected = append(selected, d)
		}
	}
	setLowest(selected)

	var missing []error
	for i, p := range parsed {
		if !used[i] {
			missing = append(missing, fmt.Errorf("device pattern %q: %w; devices here: %s", p.text, errNoMatch, names(devices)))
		}
	}
	return selected, errors.Join(missing...)
}

// pattern is one word of --devices.
type pattern struct {
	text     string
	glob     string
	override bool
	role     netdev.Role
}

func parsePatterns(words []string) ([]pattern, error) {
	var patterns []pattern
	var errs []error
	for _, word := range words {
		p := pattern{text: word, glob: word}
		if role, glob, found := strings.Cut(word, "="); found {
			p.glob, p.override = glob, true
			if err := p.role.UnmarshalText([]byte(role)); err != nil {
				errs = append(errs, fmt.Errorf("device pattern %q: %w; the roles are pod, overlay, uplink, bridge, ifb, other",
					word, err))
				continue
			}
		}
		if p.glob == "" {
			errs = append(errs, fmt.Errorf("device pattern %q is empty; give a name or a glob such as eth*", word))
		} else if _, err := path.Match(p.glob, ""); err != nil {
			errs = append(errs, fmt.Errorf("device pattern %q: %w; use *, ? and closed [ranges]", word, err))
		} else {
			patterns = append(patterns, p)
		}
	}
	return patterns, errors.Join(errs...)
}

// names lists some devices, to help with a mistyped pattern.
func names(devices []netdev.Device) string {
	const most = 10
	var list []string
	for _, d := range devices[:min(most, len(devices))] {
		list = append(list, d.Name)
	}
	if more := len(devices) - most; more > 0 {
		list = append(list, fmt.Sprintf("and %d more", more))
	}
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
