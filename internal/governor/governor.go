// Package governor is the controller of adaptive sampling: it decides which packets are tracked, so that the cost of tracking
// them stays within limits. It sees how many records came and how much CPU time was spent, never what the records say. It reads
// no clock and calls no kernel: the agent gives it the cost of each epoch and applies its answer.
//
// It tightens the sampling at once, as far as it must. It loosens by steps of two, and only after a looser sampling would have
// stayed within the limits for a hold time. The hold time doubles each time that loosening turns out to be too early (back-off),
// so that the sampling does not oscillate.
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

// Epoch is how often Step is to be called. A flow's quota is for one epoch.
const Epoch = 100 * time.Millisecond

// Limits are what tracking packets may cost.
type Limits struct {
	MaxRecords int     // a second
	MaxCPU     float64 // in cores: 0.05 is a twentieth of one
}

// Sampling is which packets are sampled: of each flow the first FlowQuota in each epoch, and of the others one in OneIn by
// chance. With OneIn = 1 every packet is, whatever the quota.
type Sampling struct {
	OneIn     uint32 `json:"one_in"`
	FlowQuota uint32 `json:"flow_budget"`
}

// EveryPacket samples every packet.
var EveryPacket = Sampling{OneIn: 1, FlowQuota: maxQuota}

const (
	maxOneIn = 1 << 24
	maxQuota = 64

	// loosenBelow is the part of the limit below which a looser sampling must be foreseen to stay. Tightening begins at the
	// limit itself: between the two nothing changes (hysteresis).
	loosenBelow = 0.8
	// quotaShare is the part of the limit that records within quotas may take. The rest is for those by chance, which alone tell
	// of flows that have used up their quota.
	quotaShare = 0.5

	minHold    = 2 * time.Second // the hold time at first
	maxHold    = time.Minute     // after repeated back-off
	backOff    = 5 * time.Second // tightening within this time of loosening means that it was too early
	cpuAverage = 2 * time.Second // time constant of the average of CPU time
	minScale   = 1.0 / 64        // of the limit of records, however much CPU time is spent
)

// Cost is what tracking packets took since the last Step.
type Cost struct {
	Elapsed time.Duration
	// WithinQuota and ByChance count the journeys whose records were read or missed: those sampled with certainty, and those
	// sampled by chance. While OneIn is 1 all are certain. Drops are never sampled and do not count.
	WithinQuota uint64
	ByChance    uint64
	// EarlierWithinQuota and EarlierByChance are those of them that began before the sampling in force did: their packets waited
	// long, and say nothing of it. Tightening on their account, again and again, would leave no quota.
	EarlierWithinQuota uint64
	EarlierByChance    uint64
	// CPU is the time of the agent on all cores, with that of the programs in the kernel as far as the kernel tells.
	CPU time.Duration
}

// Governor holds the limits. It is not safe for use by several goroutines.
type Governor struct {
	limits   Limits
	inForce  Sampling
	scale    float64 // the part of the limit of records that the limit of CPU time leaves
	cpuCores float64 // averaged

	stable   time.Duration // for how long a looser sampling would have been within the limits
	hold     time.Duration // for how long it must have been
	loosened time.Duration // since the sampling was last loosened
}

// New returns a Governor that begins with every packet.
func New(limits Limits) *Governor {
	return &Governor{limits: limits, inForce: EveryPacket, scale: 1, hold: minHold, loosened: maxHold}
}

// CPU is how many cores tracking packets took lately.
func (g *Governor) CPU() float64 { return g.cpuCores }

// Step takes the cost since the last one and returns the sampling that is to be in force from now on.
func (g *Governor) Step(cost Cost) Sampling {
	seconds := cost.Elapsed.Seconds()
	if seconds <= 0 {
		return g.inForce
	}
	g.scaleToCPU(cost, seconds)
	limit := float64(g.limits.MaxRecords) * g.scale
	rate := func(n uint64) float64 { return float64(n) / seconds }
	g.loosened += cost.Elapsed

	tighter := g.tighten(rate(cost.WithinQuota)-rate(cost.EarlierWithinQuota), rate(cost.ByChance)-rate(cost.EarlierByChance), limit)
	if tighter != g.inForce {
		if g.loosened < backOff {
			g.hold = min(2*g.hold, maxHold)
		}
		g.inForce, g.stable = tighter, 0
		return g.inForce
	}
	if g.loosened > 2*maxHold {
		g.hold = minHold
	}
	if all, earlier := cost.WithinQuota+cost.ByChance, cost.EarlierWithinQuota+cost.EarlierByChance; 10*earlier > all {
		g.stable = 0 // what the sampling in force lets through is not known yet
		return g.inForce
	}
	looser := g.loosen(rate(cost.WithinQuota), rate(cost.ByChance), limit)
	if looser == g.inForce {
		g.stable = 0
		return g.inForce
	}
	hold := g.hold
	if looser == EveryPacket {
		hold = minHold // all that passes is known and not extrapolated: the flood is over
	}
	if g.stable += cost.Elapsed; g.stable >= hold {
		g.inForce, g.stable, g.loosened = looser, 0, 0
	}
	return g.inForce
}

// scaleToCPU lowers the limit of records while too much CPU time is spent, and raises it again.
func (g *Governor) scaleToCPU(cost Cost, seconds float64) {
	weight := min(1, seconds/cpuAverage.Seconds())
	g.cpuCores += weight * (cost.CPU.Seconds()/seconds - g.cpuCores)
	switch limit := g.limits.MaxCPU; {
	case g.cpuCores > limit:
		g.scale = max(minScale, g.scale*(1-weight*(1-limit/g.cpuCores)))
	case g.cpuCores < loosenBelow*limit:
		g.scale = min(1, g.scale*(1+weight/4))
	}
}

// tighten returns a sampling that keeps these records a second under the limit: the one in force, if that does.
func (g *Governor) tighten(withinQuota, byChance, limit float64) Sampling {
	next := g.inForce
	if withinQuota+byChance <= limit {
		return next
	}
	if next.OneIn == 1 {
		// How many of these will be within quotas is not known yet.
		next.OneIn = powerOfTwo((withinQuota + byChance) / limit)
		return next
	}
	if most := quotaShare * limit; withinQuota > most {
		next.FlowQuota = uint32(float64(next.FlowQuota) * most / withinQuota)
	}
	if left := limit - min(withinQuota, quotaShare*limit); byChance > left {
		next.OneIn = min(maxOneIn, next.OneIn*powerOfTwo(byChance/left))
	}
	return next
}

// loosen returns a looser sampling that at these records a second would stay well under the limit: the one in force, if there is
// none.
func (g *Governor) loosen(withinQuota, byChance, limit float64) Sampling {
	next := g.inForce
	switch {
	case next.OneIn == 1:
	case withinQuota+float64(next.OneIn)*byChance < loosenBelow*limit:
		return EveryPacket
	case withinQuota+2*byChance < loosenBelow*limit:
		next.OneIn /= 2
	case next.FlowQuota < maxQuota && 2*withinQuota < loosenBelow*quotaShare*limit:
		next.FlowQuota = min(max(1, 2*next.FlowQuota), maxQuota)
	}
	return next
}

// powerOfTwo is the least power of two that is not below x.
func powerOfTwo(x float64) uint32 {
	return uint32(math.Exp2(math.Ceil(math.Log2(min(max(x, 1), maxOneIn)))))
}
