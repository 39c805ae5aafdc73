package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/test/steady"
)

// TestPeer attaches programs of an object file: our own, by their functions' names.
func TestPeer(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	object, err := filepath.Glob("../../internal/bpfobj/tracer_*.o")
	if err != nil || len(object) != 1 {
		t.Fatalf("objects: %q, %v", object, err)
	}
	environment := map[string]string{peerObject: object[0], peerIngress: "tracer_ingress", peerEgress: "tracer_egress"}
	p, err := peerOf(func(name string) string { return environment[name] })
	if err != nil {
		t.Fatal(err)
	}
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { statistics.Close() })
	o := testOverlay(t)
	programs, err := p.attach(o.Node(1))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kinds()[0].run(t.Context(), o, trafficWatch); err != nil {
		t.Error(err)
	}
	runs, err := programs.stats()
	if err != nil {
		t.Fatal(err)
	}
	for _, direction := range []string{"ingress", "egress"} {
		if runs[direction].Runs == 0 {
			t.Errorf("the peer's program for %s never ran", direction)
		}
	}
	if err := programs.Close(); err != nil {
		t.Error(err)
	}
	environment[peerEgress] = "none"
	if p, err = peerOf(func(name string) string { return environment[name] }); err != nil {
		t.Fatal(err)
	}
	if _, err := p.attach(o.Node(1)); err == nil {
		t.Error("a program that the object has not was attached")
	}
}

// TestPeerOf takes all of a peer, or none.
func TestPeerOf(t *testing.T) {
	t.Parallel()
	if p, err := peerOf(func(string) string { return "" }); p != nil || err != nil {
		t.Errorf("no peer: %v, %v", p, err)
	}
	if p, err := peerOf(func(name string) string { return map[string]string{peerObject: os.DevNull}[name] }); err == nil {
		t.Errorf("a peer without programs: %v", p)
	}
}
