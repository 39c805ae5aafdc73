package governor

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// network is flows that send so many packets a second each, of which the governor has some tracked.
type network struct {
	*testing.T
	governor *Governor
	rand     *rand.Rand
	sampling Sampling
	// perRecord and rest are the time that following packets takes.
	perRecord, rest time.Duration
	changes         int
}

func newNetwork(t *testing.T, limits Limits) *network {
	return &network{T: t, governor: New(limits), rand: rand.New(rand.NewPCG(3, 4)), sampling: EveryPacket}
}

// run lets time pass and returns how many records a second came in its last quarter.
func (n *network) run(d time.Duration, flows, perFlow float64) (records float64) {
	steps := int(d / Epoch)
	for step := range steps {
		each := perFlow * Epoch.Seconds() * (0.9 + 0.2*n.rand.Float64())
		certain := flows * each
		var chosen float64
		if n.sampling.OneIn > 1 {
			within := min(each, float64(n.sampling.FlowQuota))
			certain = flows * within
			mean := flows * (each - within) / float64(n.sampling.OneIn)
			chosen = max(0, mean+math.Sqrt(mean)*n.rand.NormFloat64())
		}
		if step >= steps*3/4 {
			records += certain + chosen
		}
		next := n.governor.Step(Cost{
			Elapsed: Epoch, WithinQuota: uint64(certain), ByChance: uint64(chosen),
			CPU: time.Duration((certain+chosen)*float64(n.perRecord)) + time.Duration(float64(n.rest)*Epoch.Seconds()),
		})
		if next != n.sampling {
			n.changes++
		}
		n.sampling = next
	}
	return records / (d.Seconds() / 4)
}

func TestEveryPacketWithoutLoad(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 1})
	if n.run(time.Minute, 100, 150); n.sampling != EveryPacket || n.changes != 0 {
		t.Errorf("%+v after %d changes", n.sampling, n.changes)
	}
}

// TestFlood has one flow, many flows, and a million new ones a second come at once, stay, and go.
func TestFlood(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		flows, perFlow float64
	}{
		{"an elephant", 1, 1e6},
		{"two thousand flows", 2000, 500},
		{"a SYN flood", 16_384 * 10, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 10})
			n.run(10*time.Second, 100, 20)
			if n.sampling != EveryPacket {
				t.Fatalf("%+v before the flood", n.sampling)
			}
			n.run(time.Second, test.flows, test.perFlow)
			if got := n.run(time.Second, test.flows, test.perFlow); got > 20_000*1.1 {
				t.Errorf("%.0f records a second in the flood's second second, at %+v", got, n.sampling)
			}
			got := n.run(time.Minute, test.flows, test.perFlow)
			if got > 20_000*1.1 || got < 20_000/4 {
				t.Errorf("%.0f records a second in the flood, at %+v", got, n.sampling)
			}
			n.changes = 0
			n.run(5*time.Minute, test.flows, test.perFlow)
			if n.changes > 12 {
				t.Errorf("%d changes in five minutes of the same", n.changes)
			}
			n.run(3*time.Minute, 100, 20)
			if n.sampling != EveryPacket {
				t.Errorf("three minutes after the flood still %+v", n.sampling)
			}
		})
	}
}

// TestRareFlowsKeepTheirQuota has an elephant beside two hundred flows with a packet a second.
func TestRareFlowsKeepTheirQuota(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 1})
	n.run(time.Minute, 1, 1e6)
	if n.sampling.FlowQuota < 1 {
		t.Errorf("%+v: the rare flows have no quota", n.sampling)
	}
}

// TestCPU has records that take long.
func TestCPU(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 0.05})
	n.perRecord = 20 * time.Microsecond
	n.run(30*time.Second, 10, 10_000)
	if got := n.governor.CPU(); got > 0.06 || got < 0.02 {
		t.Errorf("%.3f cores, at %+v", got, n.sampling)
	}
	// Where the records are not what takes the time, a few are followed all the same.
	n.rest = 100 * time.Millisecond
	if got := n.run(5*time.Minute, 10, 10_000); got < 50 {
		t.Errorf("%.0f records a second", got)
	}
}

func TestStepWithoutTime(t *testing.T) {
	t.Parallel()
	if got := New(Limits{MaxRecords: 1, MaxCPU: 1}).Step(Cost{WithinQuota: 100}); got != EveryPacket {
		t.Errorf("%+v", got)
	}
}

// TestQuotaRecovers has flows that use up more than their share for a moment.
func TestQuotaRecovers(t *testing.T) {
	t.Parallel()
	g := New(Limits{MaxRecords: 1000, MaxCPU: 1})
	step := func(certain, chosen uint64) Sampling {
		return g.Step(Cost{Elapsed: Epoch, WithinQuota: certain, ByChance: chosen})
	}
	step(1000, 0)
	if got := step(60, 60); got.FlowQuota >= maxQuota || got.FlowQuota == 0 {
		t.Fatalf("%+v, want a smaller quota", got)
	}
	var got Sampling
	for range 100 {
		got = step(10, 40)
	}
	if got.FlowQuota != maxQuota || got.OneIn == 1 {
		t.Errorf("%+v in the end, want a quota of %d", got, maxQuota)
	}
}

// TestSlowPackets has a flow whose packets wait before they are records, and for a while are many more.
func TestSlowPackets(t *testing.T) {
	t.Parallel()
	const normal, flood = 600, 6000 // packets an epoch
	for _, late := range []int{5, 30, 60, 100} {
		g := New(Limits{MaxRecords: 2000, MaxCPU: 1})
		now, changed := EveryPacket, 0
		var sent []uint64
		var under []Sampling // which of them began
		for epoch := range 1500 {
			sent, under = append(sent, normal), append(under, now)
			if epoch >= 300 && epoch < 500 {
				sent[epoch] = flood
			}
			spent := Cost{Elapsed: Epoch}
			if began := epoch - late; began >= 0 {
				spent.WithinQuota = sent[began]
				if s := under[began]; s.OneIn > 1 {
					spent.WithinQuota = min(sent[began], uint64(s.FlowQuota))
					spent.ByChance = (sent[began] - spent.WithinQuota) / uint64(s.OneIn)
				}
				if began < changed {
					spent.EarlierWithinQuota, spent.EarlierByChance = spent.WithinQuota, spent.ByChance
				}
			}
			next := g.Step(spent)
			if next != now {
				now, changed = next, epoch+1
			}
			if epoch >= late && now.FlowQuota < 16 || epoch < 300 && now.OneIn > 8 {
				t.Fatalf("%d epochs late, epoch %d: %+v", late, epoch, now)
			}
			if flooded := 500 + 2*late; epoch > flooded && spent.WithinQuota+spent.ByChance > 200 {
				t.Fatalf("%d epochs late, epoch %d: %d records, at most 200 were wanted", late, epoch, spent.WithinQuota+spent.ByChance)
			}
		}
		if now.OneIn < 4 || now.OneIn > 8 { // it loosens only to what is well below the limit
			t.Errorf("%d epochs late: %+v, want one in 4 or 8", late, now)
		}
	}
}
