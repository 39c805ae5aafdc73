package main

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed kernels.txt
var kernelTable string

// kernel is one that tests run on: a line of kernels.txt.
type kernel struct {
	name    string
	suites  []string // of Debian
	pattern string   // of the image package's name
}

func parseKernels(table string) ([]kernel, error) {
	var kernels []kernel
	for n, line := range strings.Split(table, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("kernels.txt:%d: %d fields, want name, suites and package", n+1, len(fields))
		}
		if _, err := path.Match(fields[2], ""); err != nil {
			return nil, fmt.Errorf("kernels.txt:%d: package %q: %w", n+1, fields[2], err)
		}
		kernels = append(kernels, kernel{name: fields[0], suites: strings.Split(fields[1], ","), pattern: fields[2]})
	}
	return kernels, nil
}

// findKernels are those with these names, separated by commas; "all" are all.
func findKernels(names string) ([]kernel, error) {
	kernels, err := parseKernels(kernelTable)
	if err != nil || names == "all" {
		return kernels, err
	}
	var known []string
	for _, k := range kernels {
		known = append(known, k.name)
	}
	var found []kernel
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fmt.Errorf("no kernel %q: choose all, or some of %s", name, strings.Join(known, ", "))
		}
		found = append(found, kernels[i])
	}
	return found, nil
}
