package main

import (
	"fmt"
	"path/filepath"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"

	"tracer/internal/lab"
	"tracer/internal/loader"
)

// peer is somebody else's tracer: programs for tc in an object file, which nobody reads from.
type peer struct {
	object          string // the file
	ingress, egress string // the names of its programs
}

// The environment names them, since neither their code nor their objects are ours.
const (
	peerObject  = "PEER_OBJECT"
	peerIngress = "PEER_INGRESS"
	peerEgress  = "PEER_EGRESS"
)

// peerOf returns the peer that the environment names, nil if none.
func peerOf(environment func(string) string) (*peer, error) {
	p := &peer{environment(peerObject), environment(peerIngress), environment(peerEgress)}
	if *p == (peer{}) {
		return nil, nil //nolint:nilnil // there need not be one
	}
	if p.object == "" || p.ingress == "" || p.egress == "" {
		return nil, fmt.Errorf("a peer is an object file in %s, and the names of its programs in %s and %s", peerObject, peerIngress, peerEgress)
	}
	return p, nil
}

// name is that of its mode.
func (p *peer) name() string { return "peer: " + filepath.Base(p.object) }

// attach puts its programs at a node's devices, both over the same maps.
func (p *peer) attach(node lab.Node) (*placed, error) {
	spec, err := ebpf.LoadCollectionSpec(p.object)
	if err != nil {
		return nil, fmt.Errorf("read the peer's object: %w", err)
	}
	for name, program := range spec.Programs {
		if name != p.ingress && name != p.egress {
			delete(spec.Programs, name)
			continue
		}
		program.Type = ebpf.SchedCLS // whatever its section is called
	}
	for _, name := range []string{p.ingress, p.egress} {
		if spec.Programs[name] == nil {
			return nil, fmt.Errorf("%s has no program %s", p.object, name)
		}
	}
	for _, m := range spec.Maps {
		m.Pinning = ebpf.PinNone
	}
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	c, err := ebpf.NewCollection(spec)
	if err != nil {
		return nil, fmt.Errorf("load the peer's programs: %w", err)
	}
	defer c.Close()
	return place(node, onDevices, func(h loader.Hook) (*ebpf.Program, error) {
		if h.Name == "egress" {
			return c.Programs[p.egress].Clone()
		}
		return c.Programs[p.ingress].Clone()
	})
}
