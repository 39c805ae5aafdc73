package identity

import (
	"fmt"
	"strings"
	"unicode"

	"tracer/internal/aggregate"
)

// printable is a name without what could command a terminal or reorder its text: whoever may create a pod may give it an
// owner with any name.
func printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, name)
}

// printableNames is an identity whose names are printable; the same one if they are.
func printableNames(id *aggregate.Identity) *aggregate.Identity {
	clean := *id
	for _, name := range []*string{&clean.Namespace, &clean.Pod, &clean.Workload, &clean.Service, &clean.Node} {
		*name = printable(*name)
	}
	if clean == *id {
		return id
	}
	return &clean
}

// checkPrintable refuses a name of a file that is not printable.
func checkPrintable(name string) error {
	if printable(name) != name {
		return fmt.Errorf("name %q has characters that cannot be shown; remove them", name)
	}
	return nil
}
