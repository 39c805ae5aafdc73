package cluster

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// CordonOneIn is the guard: of so many nodes one may be out at once.
const CordonOneIn = 10

// CriticalFor is for how long a finding must have been critical before its node is named: what passes by itself is no reason.
const CriticalFor = 3 * time.Minute

// Held is a finding that an agent has followed, and for how long it has been critical.
type Held struct {
	Finding  diagnose.Finding
	Role     netdev.Role // of its device
	Critical time.Duration
}

// Cordon says which nodes to take out of service, and why not others.
type Cordon struct {
	Nodes    []Suspect `json:"nodes"`     // those to cordon
	HeldBack []Suspect `json:"held_back"` // at fault by what their agents say, and not named, with the reason
	Limit    int       `json:"limit"`     // how many may be out of service at once
	Out      []string  `json:"out"`       // those that are: cordoned already, or their agents do not answer
	Why      string    `json:"why_none"`  // why none is named; "" if one is
}

// Suspect is a node and a sentence on it.
type Suspect struct {
	Node string `json:"node"`
	Why  string `json:"why"`
}

// SuggestCordon says which nodes are themselves at fault, and may be taken out of service. It names none where a fault may be
// between nodes or in what they share: not the ends of a wire that is at fault, never more than one in ten with those that are out
// already, and no node at all if more than that are at fault or not all were asked.
func SuggestCordon(r *Report, answers []Answer, m Map) Cordon {
	c := Cordon{Nodes: []Suspect{}, HeldBack: []Suspect{}, Limit: len(r.Nodes) / CordonOneIn, Out: []string{}}
	for _, n := range r.Nodes {
		if n.Verdict == "" || m.Unschedulable[n.Name] {
			c.Out = append(c.Out, n.Name)
		}
	}
	var suspects []Suspect
	for _, a := range answers {
		h := worst(a)
		if h == nil || m.Unschedulable[a.Node] {
			continue
		}
		s := Suspect{a.Node, fmt.Sprintf("%s for %s: %s", h.Finding.Cause, h.Critical.Truncate(time.Minute), h.Finding.Sentence())}
		if why := onWire(r, a.Node); why != "" {
			c.HeldBack = append(c.HeldBack, Suspect{a.Node, why + ", which may be why: " + s.Why})
			continue
		}
		suspects = append(suspects, s)
	}
	room := max(0, c.Limit-len(c.Out))
	switch {
	case len(suspects) == 0 && len(c.HeldBack) == 0:
		c.Why = "no node is itself at fault for long enough"
	case len(suspects) == 0:
		c.Why = "no node is at fault but at the ends of a wire that is"
	case r.NotAsked != "":
		c.Why = "not all nodes were asked, so nobody knows how many are at fault: " + r.NotAsked
	case c.Limit == 0:
		c.Why = fmt.Sprintf("one in %d of %d nodes is none: look at the node, and decide yourself", CordonOneIn, len(r.Nodes))
	case len(suspects) > c.Limit:
		c.Why = fmt.Sprintf("%d of %d nodes are at fault at once, more than one in %d: look for what they share (a change, a switch, a zone)", len(suspects), len(r.Nodes), CordonOneIn)
	case len(suspects) > room:
		c.Why = fmt.Sprintf("%s out of service already, and %d of %d may be", outText(c.Out), c.Limit, len(r.Nodes))
	default:
		c.Nodes = append(c.Nodes, suspects...)
		return c
	}
	for _, s := range suspects {
		c.HeldBack = append(c.HeldBack, Suspect{s.Node, s.Why})
	}
	return c
}

func outText(out []string) string {
	if len(out) == 1 {
		return out[0] + " is"
	}
	return list(out) + " are"
}

// worst is what a node itself is at fault for, which its agent has followed for long enough and still finds; nil if there is none.
func worst(a Answer) *Held {
	if a.Report == nil {
		return nil
	}
	var found *Held
	for i := range a.Held {
		h := &a.Held[i]
		still := slices.ContainsFunc(a.Report.Findings, func(f diagnose.Finding) bool {
			return f.Severity == diagnose.Critical && f.Key() == h.Finding.Key()
		})
		if still && h.Critical >= CriticalFor && isOfNode(h) && (found == nil || h.Critical > found.Critical) {
			found = h
		}
	}
	return found
}

// isOfNode tells whether a finding is the node's own fault, which its pods leave behind elsewhere. What a policy drops, what two ends do
// not agree on (encryption, MTU), what an application does, and what may come from a neighbour is not.
func isOfNode(h *Held) bool {
	switch h.Finding.Cause {
	case diagnose.LinkDown: // a device that is gone has no role any more
		return h.Role != netdev.RolePod && !strings.HasPrefix(h.Finding.Device, netdev.PodLabel)
	case diagnose.ConntrackFull, diagnose.ConntrackInsertFailed, diagnose.BacklogOverflow, diagnose.SoftirqDelay:
		return true // of the whole node, wherever it shows
	case diagnose.QdiscDelay, diagnose.QdiscDrop, diagnose.NIC, diagnose.ForwardDelay, diagnose.EncapDelay, diagnose.NoRoute:
		return h.Role.LeadsOut()
	}
	return false
}

// onWire says at the ends of which wire at fault a node is; "" if at none. One with a warning alone explains nothing critical.
func onWire(r *Report, node string) string {
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Finding.Cause != diagnose.Wire || f.Finding.Severity != diagnose.Critical {
			continue
		}
		if slices.Contains(f.Nodes, node) || slices.ContainsFunc(f.SeenFrom, func(o Observation) bool { return o.Node == node }) {
			return f.Finding.Sentence()
		}
	}
	return ""
}
