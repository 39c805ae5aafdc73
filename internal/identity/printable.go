package identity

import (
	"fmt"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// printableNames is an identity whose names are printable; the same one if they are.
func printableNames(id *aggregate.Identity) *aggregate.Identity {
	clean := *id
	for _, name := range []*string{&clean.Namespace, &clean.Pod, &clean.Workload, &clean.Service, &clean.Node} {
		*name = record.Printable(*name)
	}
	if clean == *id {
		return id
	}
	return &clean
}

// checkPrintable refuses a name of a file that is not printable.
func checkPrintable(name string) error {
	if record.Printable(name) != name {
		return fmt.Errorf("name %.300q has characters that cannot be shown, or is longer than 253 bytes; change it", name)
	}
	return nil
}
