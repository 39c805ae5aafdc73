package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
)

// goPackages are those that a record, a scrape or a verdict passes through in user space.
var goPackages = []string{"loader", "hist", "journey", "identity", "aggregate", "diagnose", "export/metrics"}

// goBenchmark is the result of one of Go's benchmarks.
type goBenchmark struct {
	Package string  `json:"package"`
	Name    string  `json:"name"`
	Ns      float64 `json:"ns"`
	Bytes   int     `json:"bytes"`
	Allocs  int     `json:"allocs"`
}

// The benchmarks that have a limit.
const (
	scrapeBenchmark   = "Scrape/series=10000"
	diagnoseBenchmark = "Diagnose" // of a node with 10,000 flows
)

// goLimit is what a benchmark measures, and its limit in ns.
type goLimit struct {
	what string
	ns   float64
}

var goLimits = map[string]goLimit{
	scrapeBenchmark:   {"a scrape of 10,000 series", 50e6},
	diagnoseBenchmark: {"a verdict at 10,000 flows", 5e6},
}

// verdict is "" where there is no limit.
func (g *goBenchmark) verdict() string {
	limit, limited := goLimits[g.Name]
	if !limited {
		return ""
	}
	return verdict(g.Ns <= limit.ns)
}

// measureGo runs the packages' own benchmarks.
func measureGo(ctx context.Context) ([]goBenchmark, error) {
	args := []string{"test", "-run", "^$", "-bench", ".", "-benchmem", "-benchtime", "300ms"}
	for _, p := range goPackages {
		args = append(args, "tracer/internal/"+p)
	}
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run Go's benchmarks (in the project's directory): %w\n%s%s", err, out, &complaint)
	}
	return parseGoBenchmarks(string(out))
}

// parseGoBenchmarks reads what go test prints.
func parseGoBenchmarks(out string) (list []goBenchmark, err error) {
	var pkg string
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 2 && fields[0] == "pkg:":
			pkg = fields[1][strings.LastIndexByte(fields[1], '/')+1:]
			continue
		case len(fields) < 4 || !strings.HasPrefix(fields[0], "Benchmark"):
			continue
		}
		// BenchmarkAdd/flows=1-2   1000   250 ns/op   0 B/op   0 allocs/op
		b := goBenchmark{Package: pkg, Name: strings.TrimPrefix(fields[0], "Benchmark")}
		if i := strings.LastIndexByte(b.Name, '-'); i >= 0 {
			b.Name = b.Name[:i] // the number of CPUs
		}
		for i := 2; i+1 < len(fields); i += 2 {
			value, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				return nil, fmt.Errorf("read %q: %w", line, err)
			}
			switch fields[i+1] {
			case "ns/op":
				b.Ns = value
			case "B/op":
				b.Bytes = int(value)
			case "allocs/op":
				b.Allocs = int(value)
			}
		}
		list = append(list, b)
	}
	return list, nil
}
