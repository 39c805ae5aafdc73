package main

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"slices"
)

// report is everything that was measured.
type report struct {
	Machine  machine         `json:"machine"`
	Rounds   int             `json:"rounds"`
	Repeat   int             `json:"repeat"`   // runs of each program in each round
	EmptyNs  float64         `json:"empty_ns"` // taken off all others
	Programs []program       `json:"programs"`
	Live     []liveProgram   `json:"live"`
	Traffic  []trafficResult `json:"traffic"`
	Agent    agentReport     `json:"agent"`
	Memory   kernelMemory    `json:"memory"`
	View     viewCost        `json:"view"`
	Go       []goBenchmark   `json:"go"`
	// Exceeded says which limits do not hold, Missed which of those that are not enforced, and NotShown of which this
	// run cannot tell.
	Exceeded []string `json:"exceeded"`
	Missed   []string `json:"missed"`
	NotShown []string `json:"not_shown"`
}

// agentReport is what agents take in user space.
type agentReport struct {
	Long   agentCost   `json:"long"`  // for as long as it keeps what it saw
	Scale  []agentCost `json:"scale"` // by flows and pods
	Growth growth      `json:"growth"`
}

// program is the cost of one scenario, less the empty program or, behind it, the wrapper.
type program struct {
	Name       string   `json:"name"`
	Ns         float64  `json:"ns"`          // the median
	KtimeRatio float64  `json:"ktime_ratio"` // to a program that reads the clock
	Spread     float64  `json:"spread"`      // the width of the middle half, in ns
	Limit      *float64 `json:"limit"`       // of the ratio
	Aim        bool     `json:"aim"`         // the limit is not enforced
	Than       string   `json:"than"`        // the program that is taken off; "" if it is the wrapper alone, or the empty one
}

// setPrograms takes the times of runner.measure, whose first two scenarios are the empty program and the clock.
func (r *report) setPrograms(list []scenario, times [][]float64) {
	empty, idle, connected := times[0], times[0], times[0]
	named := map[string][]float64{}
	r.Rounds = len(empty)
	for i := range list[1:] {
		s := &list[i+1]
		// Round by round: both met the same machine.
		less := make([]float64, len(empty))
		for round, ns := range times[i+1] {
			less[round] = ns - idle[round]
			if than := named[s.than]; than != nil {
				less[round] = ns - than[round]
			}
			if s.connection != nil && s.name != connectionName {
				less[round] -= connected[round] - idle[round]
			}
		}
		named[s.name] = times[i+1]
		switch s.name {
		case wrapperName:
			idle = times[i+1]
		case connectionName:
			connected = times[i+1]
		}
		q := quartilesOf(less)
		p := program{Name: s.name, Than: s.than, Ns: tenths(q.median), Spread: tenths(q.spread())}
		if s.limit != 0 {
			p.Limit, p.Aim = &s.limit, s.aim
		}
		r.Programs = append(r.Programs, p)
	}
	clock := r.Programs[0].Ns
	for i := range r.Programs {
		p := &r.Programs[i]
		p.KtimeRatio = math.Round(p.Ns/clock*100) / 100
	}
	r.EmptyNs = tenths(quartilesOf(slices.Clone(empty)).median)
}

// judge compares everything with its limit.
func (r *report) judge() {
	r.Exceeded, r.Missed, r.NotShown = []string{}, []string{}, []string{}
	r.judgePrograms()
	for _, p := range r.Live {
		r.note(p.Unsampled.verdict(), "%s, a hook's mean, not sampled: %.1f ns, limit %.0f", p.Workload, p.Unsampled.Ns, orZero(p.Unsampled.Limit))
		r.note(p.Sampled.verdict(), "%s, a hook's mean, sampled: %.1f ns, limit %.0f", p.Workload, p.Sampled.Ns, orZero(p.Sampled.Limit))
	}
	for _, t := range r.Traffic {
		r.note(t.Verdict, "%s, %s: %.3f of what %s leave, limit %.2f", t.Workload, t.Mode, t.OfEmpty, emptyOnDevices, orZero(t.Limit))
	}
	r.note(verdict(r.Memory.KernelBytes <= kernelLimit), "kernel memory: %.1f MiB, limit %d", mebibytes(r.Memory.KernelBytes), kernelLimit>>20)
	long := r.Agent.Long
	r.note(verdict(long.ResidentBytes <= residentLimit), "agent: %.1f MiB resident, limit %d", mebibytes(long.ResidentBytes), residentLimit>>20)
	for _, l := range r.Agent.limited() {
		r.note(l.verdict(), "%s: %.1f %% of a core, limit %.0f", l.what, 100*l.cores, 100*l.limit)
	}
	for _, c := range r.Agent.Scale {
		if c.Devices == startDevices {
			r.note(aim(c.startsInTime()), "an agent starts with %d devices in %.1f s, limit %.0f", c.Devices, c.StartSeconds, startLimit)
			r.note(aim(c.startsQuietly()), "that start takes %.2f s of CPU time, limit %.0f %% of %.1f s", c.StartCPUSeconds, 100*startShare, c.StartSeconds)
		}
	}
	growth := r.Agent.Growth
	r.note(growth.atMost(growthLimit), "a packet costs %.2f times as much with many pods and flows as with one, limit %.2f", growth.Ratio, growthLimit)
	for _, g := range r.Go {
		r.note(g.verdict(), "%s: %.1f ms, limit %.0f", goLimits[g.Name].what, g.Ns/1e6, goLimits[g.Name].ns/1e6)
	}
	r.Exceeded = append(r.Exceeded, r.View.exceeded()...)
}

// judgePrograms compares the hooks alone with their limits.
func (r *report) judgePrograms() {
	for _, p := range r.Programs {
		r.note(p.verdict(), "%s: %.2f times a clock read, limit %.2f", p.Name, p.KtimeRatio, orZero(p.Limit))
	}
}

// note puts what is not as it should be into its list.
func (r *report) note(verdict, format string, values ...any) {
	says := fmt.Sprintf(format, values...)
	switch verdict {
	case exceeded:
		r.Exceeded = append(r.Exceeded, says)
	case missed:
		r.Missed = append(r.Missed, says)
	case notShown:
		r.NotShown = append(r.NotShown, says)
	}
}

const (
	holds    = "ok"
	exceeded = "EXCEEDED"
	missed   = "missed"    // a limit that is aimed at, and not kept yet: no reason to fail
	notShown = "not shown" // the noise is larger than what is asked
)

func verdict(ok bool) string {
	if ok {
		return holds
	}
	return exceeded
}

// aim is the verdict of a limit that is not enforced.
func aim(ok bool) string {
	if ok {
		return holds
	}
	return missed
}

// verdict is "" where there is no limit.
func (p *program) verdict() string {
	switch {
	case p.Limit == nil:
		return ""
	case p.Aim:
		return aim(p.KtimeRatio <= *p.Limit)
	default:
		return verdict(p.KtimeRatio <= *p.Limit)
	}
}

func (c *liveCost) verdict() string {
	if c.Limit == nil {
		return ""
	}
	return c.atMost(*c.Limit)
}

// limitedLoad is a load at which an agent's CPU time has a limit.
type limitedLoad struct {
	what         string
	cores, limit float64
}

func (l *limitedLoad) verdict() string { return verdict(l.cores <= l.limit) }

func (a *agentReport) limited() []limitedLoad {
	if len(a.Scale) <= busyLoad {
		return nil
	}
	idle, busy := a.Scale[idleLoad], a.Scale[busyLoad]
	return []limitedLoad{
		{"an agent that sees nothing", idle.Cores, idleLimit},
		{fmt.Sprintf("an agent that reads %d records a second", busy.Rate), busy.Cores, busyLimit},
	}
}

func orZero(x *float64) float64 {
	if x == nil {
		return 0
	}
	return *x
}

func tenths(ns float64) float64 { return math.Round(ns*10) / 10 }

// json writes r as one object.
func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

func kibibytes(n uint64) float64 { return float64(n) / 1024 }

func mebibytes(n uint64) float64 { return kibibytes(n) / 1024 }
