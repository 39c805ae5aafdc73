package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"tracer/internal/agent"
	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/statefile"
)

// learnedFor is for how many minutes an agent is said to have learned.
const learnedFor = 120

// writeUsual writes into an agent's state directory how long handshakes with nodes take that it has learnt, and requests of
// pairs: "default/client > default/server".
func writeUsual(dir string, usual, requests map[string]time.Duration) error {
	file := struct {
		Version  int                        `json:"version"`
		Peers    []diagnose.PeerBaseline    `json:"peers"`
		Requests []diagnose.RequestBaseline `json:"requests"`
	}{Version: agent.BaselineVersion}
	for pair, p50 := range requests {
		words := strings.FieldsFunc(pair, func(r rune) bool { return strings.ContainsRune(" />", r) })
		if len(words) != 4 {
			return fmt.Errorf("requests of %q: give namespace/workload > namespace/workload", pair)
		}
		asked := diagnose.RequestBaseline{P50: p50.Seconds()}
		asked.PairKey = aggregate.PairKey{SrcNamespace: words[0], SrcWorkload: words[1], DstNamespace: words[2], DstWorkload: words[3]}
		asked.Minutes, asked.Last = learnedFor, time.Now()
		file.Requests = append(file.Requests, asked)
	}
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
