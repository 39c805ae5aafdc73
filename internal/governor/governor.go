// Package governor decides how many packets are followed, so that what following them costs stays within bounds: by
// the records that came and the time that was spent, never by what the records say. It reads no clock and touches no
// kernel.
package governor

import (
	"math"
	"time"
)

// Defaults of Limits.
const (
	DefaultMaxRecords = 20_000
	DefaultMaxCPU     = 0.05
)

// Epoch is how often Step is to be called: a flow's budget is for so long.
const Epoch = 100 * time.Millisecond

// Limits are what following packets may cost.
type Limits struct {
	MaxRecords int     // a second
	MaxCPU     float64 // of one core, 0 to the number of cores
}

// Sampling is which packets are followed: of each flow Budget in each epoch, and of those beyond that one in N. With
// N = 1 it is every packet, whatever the budget.
type Sampling struct {
	N      uint32 `json:"one_in"`
	Budget uint32 `json:"flow_budget"`
}

// Everything follows every packet.
var Everything = Sampling{N: 1, Budget: maxBudget}

const (
	maxN      = 1 << 24
	maxBudget = 64
	// headroom is the part of the limit that a looser sampling must be foreseen to stay under.
	headroom = 0.8
	// flowShare is the part of the limit that budgets may use up. The rest is for chance, which alone tells of the
	// flows that have used up theirs.
	flowShare = 0.5

	calm      = 2 * time.Second // how long a looser sampling must have been possible
	calmest   = time.Minute     // the same, where loosening failed again and again
	regret    = 5 * time.Second // a sampling that had to be tightened within this time was too loose
	cpuWindow = 2 * time.Second // over which time spent is averaged
	lowest    = 1.0 / 64        // of the limit of records, for the sake of the limit of time
)

// Spent is what following packets took since the last Step.
type Spent struct {
	Elapsed time.Duration
	// Records are journeys that were read or lost: Certain ones stand for themselves alone, the others were chosen by
	// chance. Drops are never sampled and do not count.
	Certain, Chosen uint64
	// OldCertain and OldChosen are those of them that began before the sampling in force did: packets that waited long say
	// nothing of it. To tighten it for their sake again and again would end with no budgets at all.
	OldCertain, OldChosen uint64
	// CPU is the time that the agent took on all cores together, with that of the programs in the kernel as far as
	// the kernel tells.
	CPU time.Duration
}

// Governor holds the limits. It is not safe for use by several goroutines.
type Governor struct {
	limits  Limits
	now     Sampling
	allowed float64 // the part of the limit of records that the limit of time leaves
	cpu     float64 // cores, averaged

	quiet    time.Duration // how long a looser sampling would have done
	patience time.Duration // how long it must have, this time
	loosened time.Duration // since it was loosened last
}

// New returns a Governor that begins with every packet.
func New(limits Limits) *Governor {
	return &Governor{limits: limits, now: Everything, allowed: 1, patience: calm, loosened: calmest}
}

// CPU is how many cores following packets took lately.
func (g *Governor) CPU() float64 { return g.cpu }

// Step takes what was spent since the last one and returns what is to hold from now on. It tightens at once, as far
// as is needed. It loosens by steps of two, after it would have done for a while: twice as long each time that this
// turned out to be too loose, so that it does not swing.
func (g *Governor) Step(spent Spent) Sampling {
	seconds := spent.Elapsed.Seconds()
	if seconds <= 0 {
		return g.now
	}
	g.pace(spent, seconds)
	limit := float64(g.limits.MaxRecords) * g.allowed
	certain, chosen := float64(spent.Certain)/seconds, float64(spent.Chosen)/seconds
	g.loosened += spent.Elapsed
	tight := g.tighten(certain-float64(spent.OldCertain)/seconds, chosen-float64(spent.OldChosen)/seconds, limit)
	if tight != g.now {
		if g.loosened < regret {
			g.patience = min(2*g.patience, calmest)
		}
		g.now, g.quiet = tight, 0
		return g.now
	}
	if g.loosened > 2*calmest {
		g.patience = calm
	}
	if all, old := spent.Certain+spent.Chosen, spent.OldCertain+spent.OldChosen; 10*old > all {
		// What the sampling in force lets through is not known yet.
		g.quiet = 0
		return g.now
	}
	loose := g.loosen(certain, chosen, limit)
	if loose == g.now {
		g.quiet = 0
		return g.now
	}
	patience := g.patience
	if loose == Everything {
		patience = calm // all that passes is known, not guessed: the flood is over
	}
	if g.quiet += spent.Elapsed; g.quiet >= patience {
		g.now, g.quiet, g.loosened = loose, 0, 0
	}
	return g.now
}

// pace lets fewer records through while too much time is spent.
func (g *Governor) pace(spent Spent, seconds float64) {
	weight := min(1, seconds/cpuWindow.Seconds())
	g.cpu += weight * (spent.CPU.Seconds()/seconds - g.cpu)
	switch most := g.limits.MaxCPU; {
	case g.cpu > most:
		g.allowed = max(lowest, g.allowed*(1-weight*(1-most/g.cpu)))
	case g.cpu < headroom*most:
		g.allowed = min(1, g.allowed*(1+weight/4))
	}
}

// tighten returns a sampling that keeps these rates under the limit, the one in force if that does.
func (g *Governor) tighten(certain, chosen, limit float64) Sampling {
	next := g.now
	if certain+chosen <= limit {
		return next
	}
	if next.N == 1 {
		// How much of this the budgets will take, is not known yet.
		next.N = powerOfTwo((certain + chosen) / limit)
		return next
	}
	if most := flowShare * limit; certain > most {
		next.Budget = uint32(float64(next.Budget) * most / certain)
	}
	if left := limit - min(certain, flowShare*limit); chosen > left {
		next.N = min(maxN, next.N*powerOfTwo(chosen/left))
	}
	return next
}

// loosen returns a looser sampling that at these rates would stay well under the limit, the one in force if there is
// none.
func (g *Governor) loosen(certain, chosen, limit float64) Sampling {
	next := g.now
	switch {
	case next.N == 1:
	case certain+float64(next.N)*chosen < headroom*limit:
		return Everything
	case certain+2*chosen < headroom*limit:
		next.N /= 2
	case next.Budget < maxBudget && 2*certain < headroom*flowShare*limit:
		next.Budget = min(max(1, 2*next.Budget), maxBudget)
	}
	return next
}

// powerOfTwo is the least one that is not below x.
func powerOfTwo(x float64) uint32 {
	return uint32(math.Exp2(math.Ceil(math.Log2(min(max(x, 1), maxN)))))
}
