package main

import (
	"fmt"
	"path/filepath"
	"time"

	"tracer/internal/agent"
	"tracer/internal/diagnose"
	"tracer/internal/statefile"
)

// learnedFor is for how many minutes an agent is said to have learned.
const learnedFor = 120

// writeUsual writes into an agent's state directory how long handshakes with nodes take that it has learnt.
func writeUsual(dir string, usual map[string]time.Duration) error {
	file := struct {
		Version int                     `json:"version"`
		Peers   []diagnose.PeerBaseline `json:"peers"`
	}{Version: agent.BaselineVersion}
	for node, rtt := range usual {
		peer := diagnose.PeerBaseline{PeerKey: diagnose.PeerKey{Node: node, Handshake: true}, RTT: rtt.Seconds()}
		peer.Minutes, peer.Last = learnedFor, time.Now()
		file.Peers = append(file.Peers, peer)
	}
	if err := statefile.Write(filepath.Join(dir, "usual.json"), file); err != nil {
		return fmt.Errorf("write what the agent has learnt: %w", err)
	}
	return nil
}
