package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
)

// part is something that is run as a whole: a line of bash, in the repository's root. Go tests write their events to $JSON,
// where we read what ran, and how often.
type part struct {
	name   string
	suite  string // here, more, or none
	about  string
	script string
	// beside is for what may run beside others, as it measures no time on this kernel.
	beside bool
	// alone is for what runs when all others have ended: guests beside it would take its own programs the CPU for longer than its load bears.
	alone bool
	// again is for what runs once more where it failed while the machine stood still: what does not see to that test by test.
	again bool
	// after names a part that must have passed before, where it is among those that run.
	after string
}

const (
	suiteHere = "here"
	suiteMore = "more"
	suiteNone = "" // runs only if it is named
)

// parts are all there are, in the order in which they start.
var parts = []part{
	{name: "packages", suite: suiteHere, about: "install what is missing of Debian's packages, fetch Go modules",
		script: "hack/install-packages guest && go mod download && go mod download -modfile=tools/go.mod"},
	{name: "generated", suite: suiteHere, after: "packages", about: "what is committed comes from bpf/ and the pinned clang, rules and dashboards from tools/mixin",
		script: "hack/check-generated"},
	{name: "lint", suite: suiteHere, beside: true, after: "packages", about: "go.mod files, golangci-lint, the direction of imports, vulnerabilities and licences", script: "make lint"},
	{name: "build", suite: suiteHere, beside: true, after: "packages", about: "compile and vet for amd64 and arm64, without fault injection; the plugin for darwin and windows too", script: "make cross"},
	{name: "tools", suite: suiteHere, beside: true, after: "packages", about: "the tests of the tools' own module",
		script: `cd tools && go tool gotestsum --format standard-quiet --jsonfile "$JSON" --post-run-command ../hack/no-skips -- -count=1 ./...`},
	{name: "guest", suite: suiteHere, beside: true, after: "packages",
		about:  "one other kernel (6.12, emulated): load, attach, packet by packet and the demo, on real tunl0 with netem",
		script: "make test-guest"},
	{name: "mixin", suite: suiteMore, again: true, after: "packages", about: "alerts and dashboards, by Prometheus itself: against what the agent exports, and live in a lab with faults",
		script: "make test-mixin"},
	{name: "npd", suite: suiteMore, again: true, after: "packages", about: "the node's condition, by node-problem-detector's own code", script: "make test-npd"},
	{name: "fuzz", suite: suiteMore, again: true, after: "packages", about: "what reads from outside, by a few hundred inputs that are made up",
		script: "FUZZTIME=300x FUZZWORKERS=1 make fuzz"},
	{name: "release", suite: suiteMore, beside: true, after: "packages", about: "a release made twice, in two folders, is the same byte by byte (for linux/amd64; the tools' tests for all); the module renamed",
		script: "make release-check VERSION=v0.0.0 PLATFORMS=linux/amd64 && make test-module-path"},
	{name: "kubernetes", suite: suiteMore, beside: true, after: "packages", about: "build Kubernetes and network plugins, if the cache has not got them",
		script: "make fetch-k8s"},
	{name: "kernels", suite: suiteMore, beside: true, after: "packages", about: "what touches the kernel on 5.10, 6.1, 6.12 and 7.2 (emulated)",
		script: "make test-kernel KERNEL=all"},
	{name: "arm64", suite: suiteMore, beside: true, after: "packages", about: "programs on arm64 kernels of 4k and 16k pages, the demo on one (emulated)",
		script: "make test-arm64"},
	{name: "faults-guest", suite: suiteMore, beside: true, after: "packages", about: "the guests' scoreboard, on 6.12 (emulated)",
		script: "make scoreboard KERNEL=6.12 SEEDS=1 CONFUSION=build/confusion.md"},
	{name: "live", suite: suiteHere, after: "packages", about: "unit and live tests on this kernel, with the race detector",
		script: "CGO_ENABLED=1 go run ./test/gotest $(go list ./... | grep -vE '/test/(truth|pair)$') -- -race -count=1 -timeout 20m -skip '^TestKilled$'"},
	{name: "kills", suite: suiteHere, after: "packages", about: "50 agents killed at random moments, on TCX and clsact: nothing lost, nothing left",
		script: "go run ./test/gotest ./cmd/tracer -- -count=1 -timeout 20m -run '^TestKilled$'"},
	{name: "truth", suite: suiteHere, after: "packages", about: "delay, loss and drops of known size, compared packet by packet",
		script: "go run ./test/gotest ./test/truth -- -count=1"},
	{name: "faults", suite: suiteHere, after: "packages", about: "the scoreboard: clusters with a fault, which must be named, and healthy ones",
		script: "make scoreboard SEEDS=1 CONFUSION=build/confusion.md"},
	{name: "soak", suite: suiteMore, again: true, after: "packages", about: "three minutes of an agent's life where much happens: nothing of it grows",
		script: "make soak HOURS=0.05 KILLS=0"},
	{name: "scale", suite: suiteMore, again: true, after: "packages", about: "an agent in a simulated cluster of 500 nodes: names and memory",
		script: "make scale SCALE='-nodes 500 -pods 15000 -services 1000 -watch 5s -scopes node,again -limit 65 -check'"},
	{name: "ui", suite: suiteMore, again: true, after: "packages", about: "the page of tracer ui is what ui/ builds to, and a browser opens it in a lab, healthy and slow",
		script: "make test-ui"},
	{name: "pair", suite: suiteMore, after: "packages", about: "two machines with a router between them (6.12, emulated): counts, and both nodes' verdicts on a slow queue",
		script: "make test-pair PAIR_SHORT=-short"},
	{name: "cluster", suite: suiteMore, again: true, after: "kubernetes", about: "the agent on a real Kubernetes with two nodes, in namespaces", script: "make test-k8s"},
	{name: "install", suite: suiteMore, alone: true, again: true, after: "kubernetes", about: "what the README says, with a release in a registry; upgraded from the one before, rolled back and uninstalled, under load",
		script: "make test-cni CNI='^TestRelease$'"},
	{name: "cni", suite: suiteNone, alone: true, again: true, after: "kubernetes", about: "the agent beside flannel and AWS's plugin, on that Kubernetes",
		script: "make test-cni CNI='^Test(FlannelVXLAN|AWS)$' CNI_SHORT=-short"},
}

// choose finds suites and parts by their names. A suite's parts that install and fetch come with any.
func choose(names []string) ([]part, error) {
	if len(names) == 0 {
		return nil, fmt.Errorf("say what to run: here, more, all, or some of %s", strings.Join(allNames(), ", "))
	}
	wanted := map[string]bool{}
	for _, name := range names {
		known := false
		for _, p := range parts {
			if name == "all" && p.suite != suiteNone || name == p.suite || name == p.name {
				wanted[p.name], known = true, true
			}
		}
		if !known {
			return nil, fmt.Errorf("there is no part %q: choose here, more, all, or some of %s", name, strings.Join(allNames(), ", "))
		}
	}
	wanted["packages"] = true
	var chosen []part
	for _, p := range parts {
		if wanted[p.name] {
			chosen = append(chosen, p)
		}
	}
	return chosen, nil
}

func allNames() (names []string) {
	for _, p := range parts {
		names = append(names, p.name)
	}
	return names
}

// known is how long suites took. Guests run beside what measures time, so a machine with one more CPU takes little less.
var known = []struct{ suite, took string }{
	{suiteHere, "18 to 21 min with warm caches, 28 min with empty ones: make test, on two shared CPUs of an AMD EPYC"},
	{suiteHere, "18 to 20 min with warm caches, beside two busy loops: make test, on two CPUs of an Intel Xeon"},
	{suiteMore, "50 min with warm caches: make test-more, on two shared CPUs of an AMD EPYC"},
	{suiteMore, "2 h with empty caches: make test-all, on two CPUs of an Intel Xeon"},
}

// announce says what will be done, and how long that took elsewhere.
func announce(w io.Writer, suites []string, chosen []part) {
	for _, p := range chosen {
		beside := ""
		if p.beside {
			beside = " (beside the others)"
		}
		fmt.Fprintf(w, "  %-12s %s%s\n", p.name, p.about, beside)
	}
	for _, k := range known {
		if slices.Contains(suites, k.suite) || slices.Contains(suites, "all") {
			fmt.Fprintf(w, "took %s\n", k.took)
		}
	}
	fmt.Fprintln(w)
}
