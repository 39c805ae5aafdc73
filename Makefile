# tracer: build, test and show. "make" alone lists the targets.

DOCKER ?= docker
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
ARCHES := amd64 arm64
# What runs on other kernels as well. Left out there is what test/truth proves on each of them, packet by packet (delay,
# loss, rate, segments, IPv6, whole journeys), and what is the same on all: sampling, findings that begin and end, rows and
# screens, commands and their rights, all of which user space or one piece of arithmetic decides; and what starts many agents, each of
# which takes 20 s of an emulated CPU: run that by name when it changes.
GUEST_TESTS := ./internal/loader ./internal/device ./internal/lab ./internal/agent ./test/truth ./cmd/tracer
GUEST_SKIP := TestFaultTBF|TestFaultRateAlone|TestHealthy|TestIPv6|TestLocal|TestService|TestQueueDelay|TestNothingComesOut|TestSplit|TestSoftwareSegmentation|TestSlowest|TestSampled|TestFloodOfFlows|TestTop|TestByHand|TestAgent|TestRefuses|TestUnprivileged|TestPlugin|TestFindings|TestKilled$$|TestHostileNames|TestHardened|TestRestartBesidePrograms|TestManyPods|TestLeftovers|TestLateOverlay|TestNoDescriptors|TestFewDescriptors|TestFullDisk|TestSeccomp$$|TestStarved|TestUI|TestIncident|TestPath

# What arm64 kernels need not show either: arithmetic and statistics, which are the same on all machines, and what user space decides.
ARM64_SKIP := TestSampling|TestFunctionsAreSmall|TestEachCapabilityIsNeeded|TestLock|TestRefusedByTCX|TestRefusedProgram

# On one other kernel, in every run of the tests: load, attach, figures packet by packet, the story.
GUEST := 6.12
GUEST_STORY := ^(TestAttach|TestFilters|TestCapabilities|TestFaultNetem|TestTruth|TestDemo|TestKernelsTable|TestPathBehindWireGuard)$$

BUILD_FLAGS := -ldflags '-s -w -X main.version=$(VERSION)'
TOOL := go tool -modfile=tools/go.mod

# One way to build for all that is built, so that each package is compiled once: static, as what is shipped. The version comes from git
# describe; stamping by go as well would fail where git distrusts the checkout's owner.
export GOFLAGS := $(strip $(GOFLAGS) -buildvcs=false -trimpath)
export CGO_ENABLED := 0
# tc, nft and iptables are in sbin, which not every root shell has.
export PATH := $(PATH):/usr/sbin:/sbin

.DEFAULT_GOAL := help
.PHONY: help demo test test-more test-all test-live test-truth test-guest test-arm64 test-k8s test-cni test-pair layouts fetch-k8s manifest mixin test-mixin test-npd test-kernel accuracy scoreboard vm-shell build generate check-generated cost lint bench fuzz abuse soak scale ui test-ui ui-screens screens fmt image release release-check test-module-path push clean packages cross

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## show a slow overlay found, on this machine alone (as root; needs no clang)
	build/tracer demo

# Parts, their order and what runs beside what: test/run.
test: ## all that is proven on this kernel, and one other (as root; installs what is missing)
	go run ./test/run here

test-more: ## a real Kubernetes, all four other kernels, their scoreboard (as root)
	go run ./test/run more

test-all: ## both, as CI runs them (as root)
	go run ./test/run all

test-live: ## of make test: unit and live tests, with the race detector
	go run ./test/run live

test-truth: ## of make test: figures compared with the truth, packet by packet
	go run ./test/run truth

# One set of flags, that of the cluster's binary: what it compiles, the tests need not.
K8S_FLAGS := -gcflags 'all=-dwarf=false -l'

test-k8s: packages ## run the agent on a real Kubernetes of this machine (as root; builds one first, some minutes)
	cd test/k8srig && go tool -modfile=../../tools/go.mod gotestsum --format standard-quiet \
		--jsonfile "$${JSON:-/dev/null}" --post-run-command ../../hack/no-skips -- $(K8S_FLAGS) -count=1 -timeout 20m . ./cmd/app

# Which tests of test-cni and layouts, and whether as test-more has them: CNI_SHORT=-short.
CNI := .
CNI_SHORT :=

test-cni: packages ## run the agent beside real network plugins, on that Kubernetes (as root): CNI=TestAWS, or all
	cd test/k8srig && go tool -modfile=../../tools/go.mod gotestsum --format standard-quiet \
		--jsonfile "$${JSON:-/dev/null}" --post-run-command ../../hack/no-skips -- $(K8S_FLAGS) -count=1 -timeout 90m -run '$(CNI)' ./cni $(CNI_SHORT)

layouts: packages ## write what test-cni measures into docs/layouts.md
	cd test/k8srig && go test $(K8S_FLAGS) -count=1 -timeout 90m -run '$(CNI)' ./cni -update

fetch-k8s: packages ## build that Kubernetes and those plugins but Cilium, and fetch containerd, if the cache has not got them
	cd test/k8srig && go test $(K8S_FLAGS) -count=1 -timeout 0 -run '^$$' . ./cni

test-guest: ## of make test: what one other kernel proves: GUEST=6.12 (emulated)
	hack/install-packages guest
	go run ./test/vm -kernel '$(GUEST)' -logs build/guests -run '$(GUEST_STORY)' ./internal/loader ./internal/lab ./internal/agent ./test/truth ./cmd/tracer

# The kernel of the two machines of test-pair, which of its tests (PAIR='^TestPair$$/^vxlan$$'), and whether as test-more has them: PAIR_SHORT=-short.
PAIR_KERNEL := 6.12
PAIR := .
PAIR_SHORT :=

test-pair: packages ## of test-more: agents on two machines with kernels and clocks of their own, a router between them (as root, emulated)
	hack/install-packages guest
	go run ./test/gotest ./test/pair -- -count=1 -timeout 60m -run '$(PAIR)' $(PAIR_SHORT) -kernel='$(PAIR_KERNEL)'

manifest: ## render deploy/tracer.yaml and the chart's README from the chart again
	cd tools && go test -count=1 -run '^Test(Manifest|Readme)$$' ./chart -update

mixin: ## write the alerts, recording rules and dashboards of the chart again
	go -C tools/mixin run .

test-kernel: ## run the tests of what touches the kernel on another one: KERNEL=5.10, 6.1, 6.12, 7.2 or all (emulated)
	hack/install-packages guest
	go run ./test/vm -kernel '$(KERNEL)' -skip '$(GUEST_SKIP)' $(GUEST_TESTS)

test-mixin: build ## of test-more: alerts and dashboards, by Prometheus itself: on the agent's exposition, and live in a lab (as root)
	hack/install-packages
	cd tools/mixin && go mod tidy -diff && go tool -modfile=../go.mod gotestsum --format standard-quiet --jsonfile "$${JSON:-/dev/null}" \
		--post-run-command ../../hack/no-skips -- -count=1 -timeout 10m ./...

test-npd: ## of test-more: the node's condition, by node-problem-detector's own code
	cd test/npd && go tool -modfile=../../tools/go.mod gotestsum --format standard-quiet --jsonfile "$${JSON:-/dev/null}" \
		--post-run-command ../../hack/no-skips -- -count=1 -timeout 10m ./...

test-arm64: ## of test-more: load all programs on arm64 kernels, of 4k and 16k pages, and the story on one of them (emulated)
	hack/install-packages arm64
	go run ./test/vm -arch arm64 -kernel all -logs build/guests/arm64 -skip '$(GUEST_SKIP)|$(ARM64_SKIP)' ./internal/loader
	go run ./test/vm -arch arm64 -kernel 6.1 -logs build/guests/arm64/story -run '^(TestDemo|TestKernelsTable)$$' ./cmd/tracer

accuracy: ## measure how exact the figures are, here and on all guest kernels, for docs/reports/accuracy.md (a quarter of an hour)
	hack/install-packages guest
	mkdir -p build/guests
	go test -count=1 -v ./test/truth >build/guests/here.log || { cat build/guests/here.log; exit 1; }
	go run ./test/vm -kernel all -run '^TestTruth$$' ./test/truth
	hack/accuracy build/guests/here.log build/guests/[0-9]*.log

# What was injected and what was said: each run of all scenarios renews the part of its kernel.
CONFUSION ?= docs/reports/confusion.md
# How often each healthy scenario is played.
SEEDS ?= 5

scoreboard: packages build ## break clusters in all known ways and count how often diagnose names the fault (as root; KERNEL=6.12: what a guest alone can play, emulated)
	go build -o build/scoreboard ./test/scoreboard
ifeq ($(KERNEL),)
	build/scoreboard -seeds $(SEEDS) -report $(CONFUSION)
else
	hack/install-packages guest
	build/scoreboard -kernel '$(KERNEL)' -parallel 2 -seeds $(SEEDS) -report $(CONFUSION)
endif

vm-shell: ## get a shell on another kernel, with tracer in it: KERNEL=5.10, 6.1, 6.12 or 7.2
	hack/install-packages guest
	go run ./test/vm -kernel '$(KERNEL)' -shell

build: ## build build/tracer, static
	go build $(BUILD_FLAGS) -o build/tracer ./cmd/tracer

generate: packages ## compile bpf/ and make its Go bindings again
	hack/pinned-clang
	go generate ./internal/bpfobj ./test/bench

check-generated: packages ## check that what is committed comes from bpf/ and the pinned clang
	hack/check-generated

cost: ## write anew what a test compares: instructions of each program, allocations for each record
	go test ./internal/loader -run '^TestCost$$' -count=1 -update-cost

lint: ## go mod tidy, golangci-lint and the import direction, known vulnerabilities and licences of dependencies
	go mod tidy -diff
	go -C tools mod tidy -diff
	go -C tools vet ./...
	go -C test/browser mod tidy -diff
	go -C test/browser vet ./...
	go -C test/npd mod tidy -diff
	go -C test/npd vet ./...
	go -C test/k8srig mod tidy -diff
	go -C test/k8srig/cni/aws mod tidy -diff
	go -C test/k8srig/cni/coredns mod tidy -diff
	go -C test/k8srig/cni/cilium mod tidy -diff
	go -C test/k8srig/cni/flannel mod tidy -diff
	go -C test/k8srig/cni/flannel-plugin mod tidy -diff
	$(TOOL) golangci-lint run
	hack/check-dependencies

bench: ## what tracing costs, against its limits: hooks, traffic, agents (as root; eight minutes)
	go run ./test/bench -check

# How long an agent lives there, and how many are killed before.
HOURS ?= 8
KILLS ?= 1000

soak: build ## let an agent live for hours where much happens, and kill others at random moments: HOURS=8 KILLS=1000 (as root)
	hack/install-packages
	$(if $(filter-out 0,$(KILLS)),go test ./cmd/tracer -run '^TestKilled$$' -count=1 -v -timeout 24h -kills $(KILLS))
	go run ./test/soak -hours $(HOURS)

# How large the cluster is of scale, and how much of it is measured.
SCALE :=

scale: build ## simulate a cluster of 5,000 nodes and measure what one agent takes there, for docs/scale.md (as root; five minutes)
	hack/install-packages
	go run ./test/scale $(SCALE)

# How long each target of fuzzing runs.
FUZZTIME ?= 1m
export FUZZTIME

fuzz: ## fuzz what reads from outside, and the parser in the kernel beside its model (as root): FUZZTIME=10m each
	hack/fuzz

abuse: ## thousands of clients that mean harm, for docs/reports/reliability.md (as root; five minutes)
	go test -tags abuse -count=1 -v -timeout 1h -run '^TestAbuse$$' ./cmd/tracer

ui: ## build the page of tracer ui from ui/ into internal/ui/page (needs npm)
	npm ci --prefix ui --no-audit --no-fund --loglevel error
	npm run --prefix ui --silent check
	npm run --prefix ui --silent build

# Which tests of test-ui: UI='^TestStory$'.
UI := .

test-ui: build ## of test-more: the page is what ui/ builds to, and a browser opens it in a lab (as root)
	hack/install-packages browser
	hack/check-ui
	cd test/browser && go tool -modfile=../../tools/go.mod gotestsum --format standard-quiet --jsonfile "$${JSON:-/dev/null}" \
		--post-run-command ../../hack/no-skips -- -count=1 -timeout 20m -run '$(UI)' .

ui-screens: test-ui ## renew the pictures of the page in docs/screens (as root; three minutes)
	for picture in pair-healthy pair-fault pairs-fault pair-phone incident-fault; do \
		pngquant --force --strip --output "docs/screens/ui-$$picture.png" 48 "build/browser/$$picture.png"; \
	done

screens: build ## renew the pictures in docs/screens from a real run (as root; two minutes)
	hack/install-packages
	go run ./test/screens

fmt: ## format Go, and C where clang-format-14 is installed
	gofmt -w .
	! command -v clang-format-14 >/dev/null || clang-format-14 -i bpf/*.c bpf/*.h

image: ## the shipped image: by docker, or without it as an OCI archive build/tracer-image.tar
	VERSION='$(VERSION)' DOCKER='$(DOCKER)' hack/image $(ARCHES)

# The compiler is part of what is released: go fetches this one from the module proxy where another is installed.
RELEASE_GO := go1.26.8
# Registry, with a path if there is one, that the image is for. The chart names the image by it. Nothing is pushed to the default.
REGISTRY ?= docker.io/library
# minisign's secret key, the commit where there is no git to ask, and where to write.
KEY ?=
COMMIT ?=
RELEASE ?= build/release
# URL of the directory where the release's files will be downloaded: releases/download/VERSION below the chart's home, if there is none.
DOWNLOADS ?=
# Of the programs' platforms, only these, for a try: PLATFORMS='linux/amd64 linux/arm64'.
PLATFORMS ?=

release: ## all that a release has, into build/release: VERSION=v0.1.0 REGISTRY=registry.example/team KEY=minisign.key
	cd tools && GOTOOLCHAIN=$(RELEASE_GO) go run ./release -version '$(VERSION)' -registry '$(REGISTRY)' -commit '$(COMMIT)' \
		-downloads '$(DOWNLOADS)' -platforms '$(PLATFORMS)' -key '$(if $(KEY),$(abspath $(KEY)))' -source '$(CURDIR)' -output '$(abspath $(RELEASE))'

release-check: ## make the release of HEAD twice, in two folders, and compare it byte by byte
	PLATFORMS='$(PLATFORMS)' hack/release-check '$(VERSION)'

test-module-path: ## of test-more: rename the module as whoever publishes it does, in a copy, and build it
	hack/check-module-path

push: ## push the image and the chart of build/release: REGISTRY=registry.example/team
	cd tools && go run ./push -registry '$(if $(filter file,$(origin REGISTRY)),,$(REGISTRY))' -release '$(abspath $(RELEASE))'

clean: ## remove what the targets above made
	rm -rf build

# What generating and testing need from Debian; nothing is asked of apt when all of it is there.
packages:
	@hack/install-packages

# Where the plugin is compiled, beside linux: once for each system, as none of its lines depends on the processor. A release compiles all.
PLUGIN_PLATFORMS := darwin/arm64 windows/amd64

# Every supported machine compiles, tests included, and the shipped binary has no fault injection in it. The plugin runs where kubectl does;
# what it compiles there is for that alone, and need not be fast.
cross:
	@set -e; for arch in $(ARCHES); do \
		echo "build and vet linux/$$arch"; \
		GOOS=linux GOARCH=$$arch go build ./...; \
		GOOS=linux GOARCH=$$arch go build -tags nolab -o /dev/null ./cmd/tracer; \
		GOOS=linux GOARCH=$$arch go vet ./...; \
	done
	@! go list -tags nolab -deps ./cmd/tracer | grep -x tracer/internal/lab
	@set -e; for platform in $(PLUGIN_PLATFORMS); do \
		echo "build kubectl-tracer for $$platform"; \
		GOOS=$${platform%/*} GOARCH=$${platform#*/} go build -gcflags 'all=-dwarf=false -l' -ldflags '-s -w' -o /dev/null ./cmd/kubectl-tracer; \
	done
	@! go list -deps ./cmd/kubectl-tracer | grep -E '/netlink|cilium/ebpf'
