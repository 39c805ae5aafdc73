package main

import (
	"context"
	"iter"
	"log/slog"
	"strings"
	"time"

	"tracer/internal/agent"
	"tracer/internal/diagnose"
	"tracer/internal/export"
	"tracer/internal/identity"
	"tracer/internal/journey"
	"tracer/internal/loader"
	"tracer/internal/overview"
	"tracer/internal/record"
)

// node is an agent with its names: what is shown to the outside.
type node struct {
	*agent.Agent
	name  string
	names namer
	// cluster is where the names come from; nil where that is a file.
	cluster *identity.Kubernetes
}

// Diagnose judges the last window.
func (n *node) Diagnose(_ context.Context, window time.Duration) (diagnose.Report, error) {
	now, err := n.Now()
	if err != nil {
		return diagnose.Report{}, err
	}
	return agent.Judge(n.name, n.Ago(window), now), nil
}

// Held are the findings that hold, with the roles of their devices.
func (n *node) Held() export.Held {
	roles := map[string]record.Role{journey.PodLabel: record.RolePod}
	for _, d := range n.Known() {
		if d.Role != record.RolePod {
			roles[d.Name] = d.Role
		}
	}
	held, judged := n.Agent.Held()
	h := export.Held{Judged: judged, Findings: make([]export.HeldFinding, len(held))}
	for i, f := range held {
		h.Findings[i] = export.HeldFinding{Holding: f, Role: roles[f.Finding.Device]}
	}
	return h
}

// Overviews are those of the live view.
func (n *node) Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error] {
	return n.Agent.Overviews(ctx, query, n.name, n.about)
}

// about is the status in short.
func (n *node) about() overview.About {
	s := n.Status()
	a := overview.About{Version: s.Version, Node: s.Node, Kernel: s.Kernel, Started: s.Started, SampleRatio: s.SampleRatio}
	for _, h := range s.Hooks {
		if h.Up {
			a.HooksUp++
		} else {
			a.Missing = append(a.Missing, strings.TrimSpace(h.Hook+" "+h.Device+": "+h.Error))
		}
	}
	for _, lost := range s.Lost {
		a.RecordsLost += lost
	}
	return a
}

// Status is how the agent stands.
func (n *node) Status() export.Status {
	l, steering := n.Loader(), n.Steering()
	s := export.Status{
		Version: version, Node: n.name, Kernel: kernelRelease(), Netns: l.Files().Netns, Started: n.Started(),
		SampleRatio: 1, SampleOneIn: steering.N, SampleBudget: steering.Budget, LastRead: n.LastRead(),
		IdentityMisses: n.names.Misses() + n.Unnamed(), IdentityEarly: n.Early(), Identity: identityStatus(n.cluster),
	}
	roles := map[int]record.Role{}
	for _, d := range n.Known() {
		roles[d.Index] = d.Role
	}
	hooks, omitted := l.Hooks()
	for _, h := range hooks {
		role := roles[h.Ifindex]
		s.Hooks = append(s.Hooks, export.HookStatus{
			Program: h.Program, Hook: h.Name, Device: h.Device, Role: role, Up: h.Up, Error: h.Error,
		})
		s.Hooked = s.Hooked || h.Up && (role == record.RoleOverlay || role == record.RoleUplink)
	}
	for _, o := range omitted {
		s.Omitted = append(s.Omitted, export.OmittedHook{Hook: o.Hook, Device: o.Device, Reason: o.Reason})
	}
	counters, err := l.Counters()
	if err != nil {
		slog.Error("the programs' counts are missing from the status", "err", err)
	}
	s.Journeys, s.Lost = outcomes(counters), counters.Missed
	if began := counters.Started + counters.Unsampled; began > 0 {
		s.SampleRatio = float64(counters.Started) / float64(began)
	}
	programs, err := l.Programs()
	if err != nil {
		slog.Error("the programs' run times are missing from the status", "err", err)
	}
	for _, p := range programs {
		s.Programs = append(s.Programs, export.ProgramStatus(p))
	}
	return s
}

// outcomes are what became of journeys, for tracer_journeys_total.
func outcomes(c loader.Counters) map[string]uint64 {
	m := map[string]uint64{
		"finished": c.Finished, "split": c.Split, "dropped": c.Dropped, "unsampled": c.Unsampled,
		"collision": c.TableFull, "expired": c.EvictedStale, "mismatch": c.EvictedMismatch, "torn": c.Torn + c.TornScans,
		"orphan": c.NoIngress, "malformed": c.Malformed, "too_deep": c.TooDeep, "undecoded": c.Undecoded,
		"requeued": c.Requeued,
	}
	for hook, count := range c.Unfinished {
		m["vanished_"+hook] = count
	}
	return m
}
