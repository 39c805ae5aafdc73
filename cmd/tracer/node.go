package main

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/agent"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/failurelog"
	"tracer/internal/identity"
	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/trace"
)

// node is an agent with its names: what is shown to the outside.
type node struct {
	*agent.Agent
	name  string
	names namer
	// cluster is where the names come from; nil where that is a file.
	cluster *identity.Kubernetes

	readingCounters, readingPrograms *failurelog.Operation
}

func newNode(a *agent.Agent, name string, names namer, cluster *identity.Kubernetes) *node {
	a.SetNode(name)
	return &node{
		Agent: a, name: name, names: names, cluster: cluster,
		readingCounters: failurelog.New(slog.Default(), slog.LevelError, "cannot read the BPF programs' counters; the status goes without them"),
		readingPrograms: failurelog.New(slog.Default(), slog.LevelError, "cannot read the BPF programs' run times; the status goes without them"),
	}
}

// Diagnose judges the last window.
func (n *node) Diagnose(_ context.Context, window time.Duration) (diagnose.Report, error) {
	now, err := n.TakeSnapshot()
	if err != nil {
		return diagnose.Report{}, err
	}
	return diagnose.Diagnose(n.name, n.SnapshotBefore(window), now), nil
}

// ActiveFindings are the findings that hold, with the roles of their devices.
func (n *node) ActiveFindings() api.ActiveFindings {
	roles := map[string]netdev.Role{netdev.PodLabel: netdev.RolePod}
	for _, d := range n.KnownDevices() {
		roles[d.Role.Label(d.Name)] = d.Role
	}
	active, judged := n.Agent.ActiveFindings()
	h := api.ActiveFindings{Judged: judged, Coverage: n.Coverage(), Findings: make([]api.ActiveFinding, len(active))}
	for i, f := range active {
		h.Findings[i] = api.ActiveFinding{ActiveFinding: f, Role: roles[f.Finding.Device]}
	}
	return h
}

// Traces are those of the journeys that match the filter.
func (n *node) Traces(ctx context.Context, filter trace.Filter) iter.Seq2[trace.Trace, error] {
	return api.Traces(ctx, n, n.names, filter)
}

// Outcomes are how many journeys came to which end.
func (n *node) Outcomes(context.Context) (map[string]uint64, error) {
	counters, err := n.Loader().Counters()
	if err != nil {
		return nil, fmt.Errorf("read the counters of journeys: %w", err)
	}
	all := outcomes(counters)
	all["dropped"], all["freed"] = n.Freed()
	return all, nil
}

// Overviews are those of the live view.
func (n *node) Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error] {
	return n.Agent.Overviews(ctx, query, n.name, n.about)
}

// about is the status in short.
func (n *node) about() overview.About {
	counters, err := n.Loader().Counters()
	n.readingCounters.Done(err)
	a := overview.About{Version: version, Node: n.name, Kernel: kernelRelease(), Started: n.Started(), SampleRatio: sampleRatio(counters), WatchedOneIn: n.WatchedOneIn()}
	hooks, _ := n.Hooks()
	for _, h := range hooks {
		if h.Attached && !h.Silent {
			a.HooksUp++
		} else {
			a.HooksMissing = append(a.HooksMissing, strings.TrimSpace(h.Name+" "+h.Device+": "+h.Error))
		}
	}
	for _, lost := range counters.Missed {
		a.RecordsMissed += lost
	}
	return a
}

// sampleRatio is the share of packets that were tracked since the start, 0 to 1.
func sampleRatio(c loader.Counters) float64 {
	if began := c.Started + c.Unsampled; began > 0 {
		return float64(c.Started) / float64(began)
	}
	return 1
}

// Status is the state of the agent.
func (n *node) Status() api.Status {
	l, sampling := n.Loader(), n.Sampling()
	s := api.Status{
		Version: version, Node: n.name, Kernel: kernelRelease(), Netns: l.Files().Netns, Started: n.Started(),
		SampleOneIn: sampling.OneIn, SampleBudget: sampling.FlowQuota, SampleShared: n.SharesSampling(), LastRead: n.LastRead(),
		IdentityMisses: n.names.Misses() + n.Unnamed(), IdentityEarly: n.NamedEarly(), WatchedOneIn: n.WatchedOneIn(), Identity: identityStatus(n.cluster),
	}
	roles := map[int]netdev.Role{}
	for _, d := range n.KnownDevices() {
		roles[d.Index] = d.Role
	}
	hooks, omitted := n.Hooks()
	silent := false
	for _, h := range hooks {
		role := roles[h.Ifindex]
		s.Hooks = append(s.Hooks, api.HookStatus{
			Program: h.Program, Hook: h.Name, Device: h.Device, Role: role, Up: h.Up, Attached: h.Attached, Error: h.Error, Silent: h.Silent,
		})
		s.Hooked = s.Hooked || h.Up && role.LeadsOut()
		silent = silent || h.Silent && role.LeadsOut()
	}
	s.Reattached = reattached(n.Reattached())
	s.Hooked = s.Hooked && !silent
	for _, o := range omitted {
		s.Omitted = append(s.Omitted, api.OmittedHook{Hook: o.Hook, Device: o.Device, Reason: o.Reason})
	}
	counters, err := l.Counters()
	n.readingCounters.Done(err)
	s.SampleRatio, s.Journeys, s.Lost, s.LeftOut = sampleRatio(counters), outcomes(counters), counters.Missed, counters.LeftOut
	s.Journeys["dropped"], s.Journeys["freed"] = n.Freed()
	programs, err := l.Programs()
	n.readingPrograms.Done(err)
	for _, p := range programs {
		s.Programs = append(s.Programs, api.ProgramStatus(p))
	}
	return s
}

// reattached are the counts of hooks that were attached again, by device and hook.
func reattached(counts map[agent.HookPlace]uint64) []api.ReattachedHook {
	list := []api.ReattachedHook{}
	for p, count := range counts {
		list = append(list, api.ReattachedHook{Hook: p.Hook, Device: p.Device, Count: count})
	}
	slices.SortFunc(list, func(a, b api.ReattachedHook) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Hook, b.Hook))
	})
	return list
}

// outcomes are what became of journeys, for tracer_journeys_total. Whether one that ended in kfree_skb was lost is not
// known to the kernel's counters.
func outcomes(c loader.Counters) map[string]uint64 {
	m := map[string]uint64{
		"finished": c.Finished, "split": c.Split, "unsampled": c.Unsampled,
		"collision": c.TableFull, "expired": c.EvictedStale, "mismatch": c.EvictedMismatch, "torn": c.Torn + c.TornScans,
		"orphan": c.NoIngress, "malformed": c.Malformed, "too_deep": c.TooDeep, "undecoded": c.Undecoded,
		"requeued": c.Requeued,
	}
	for hook, count := range c.Unfinished {
		m["vanished_"+hook] = count
	}
	return m
}

// kernelRelease is what uname -r prints.
func kernelRelease() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
