package governor

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// network is what the governor steers: flows that send so many packets a second each, of which it follows some.
type network struct {
	*testing.T
	governor *Governor
	rand     *rand.Rand
	now      Sampling
	// perRecord and rest are the time that following packets takes.
	perRecord, rest time.Duration
	changes         int
}

func newNetwork(t *testing.T, limits Limits) *network {
	return &network{T: t, governor: New(limits), rand: rand.New(rand.NewPCG(3, 4)), now: Everything}
}

// run lets time pass and returns how many records a second came in its last quarter.
func (n *network) run(d time.Duration, flows, perFlow float64) (records float64) {
	steps := int(d / Epoch)
	for step := range steps {
		each := perFlow * Epoch.Seconds() * (0.9 + 0.2*n.rand.Float64())
		certain := flows * each
		var chosen float64
		if n.now.N > 1 {
			within := min(each, float64(n.now.Budget))
			certain = flows * within
			mean := flows * (each - within) / float64(n.now.N)
			chosen = max(0, mean+math.Sqrt(mean)*n.rand.NormFloat64())
		}
		if step >= steps*3/4 {
			records += certain + chosen
		}
		next := n.governor.Step(Spent{
			Elapsed: Epoch, Certain: uint64(certain), Chosen: uint64(chosen),
			CPU: time.Duration((certain+chosen)*float64(n.perRecord)) + time.Duration(float64(n.rest)*Epoch.Seconds()),
		})
		if next != n.now {
			n.changes++
		}
		n.now = next
	}
	return records / (d.Seconds() / 4)
}

func TestQuietNetworkIsFollowedWhole(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 1})
	if n.run(time.Minute, 100, 150); n.now != Everything || n.changes != 0 {
		t.Errorf("%+v after %d changes", n.now, n.changes)
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
			if n.now != Everything {
				t.Fatalf("%+v before the flood", n.now)
			}
			n.run(time.Second, test.flows, test.perFlow)
			if got := n.run(time.Second, test.flows, test.perFlow); got > 20_000*1.1 {
				t.Errorf("%.0f records a second in the flood's second second, at %+v", got, n.now)
			}
			got := n.run(time.Minute, test.flows, test.perFlow)
			if got > 20_000*1.1 || got < 20_000/4 {
				t.Errorf("%.0f records a second in the flood, at %+v", got, n.now)
			}
			n.changes = 0
			n.run(5*time.Minute, test.flows, test.perFlow)
			if n.changes > 12 {
				t.Errorf("%d changes in five minutes of the same", n.changes)
			}
			n.run(3*time.Minute, 100, 20)
			if n.now != Everything {
				t.Errorf("three minutes after the flood still %+v", n.now)
			}
		})
	}
}

// TestRareFlowsKeepTheirBudget has an elephant beside two hundred flows with a packet a second.
func TestRareFlowsKeepTheirBudget(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 1})
	n.run(time.Minute, 1, 1e6)
	if n.now.Budget < 1 {
		t.Errorf("%+v: the rare flows have no budget", n.now)
	}
}

// TestCPU has records that take long.
func TestCPU(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, Limits{MaxRecords: 20_000, MaxCPU: 0.05})
	n.perRecord = 20 * time.Microsecond
	n.run(30*time.Second, 10, 10_000)
	if got := n.governor.CPU(); got > 0.06 || got < 0.02 {
		t.Errorf("%.3f cores, at %+v", got, n.now)
	}
	// Where the records are not what takes the time, a few are followed all the same.
	n.rest = 100 * time.Millisecond
	if got := n.run(5*time.Minute, 10, 10_000); got < 50 {
		t.Errorf("%.0f records a second", got)
	}
}

func TestStepWithoutTime(t *testing.T) {
	t.Parallel()
	if got := New(Limits{MaxRecords: 1, MaxCPU: 1}).Step(Spent{Certain: 100}); got != Everything {
		t.Errorf("%+v", got)
	}
}

// TestBudgetComesBack has flows that use up more than their share for a moment.
func TestBudgetComesBack(t *testing.T) {
	t.Parallel()
	g := New(Limits{MaxRecords: 1000, MaxCPU: 1})
	step := func(certain, chosen uint64) Sampling {
		return g.Step(Spent{Elapsed: Epoch, Certain: certain, Chosen: chosen})
	}
	step(1000, 0)
	if got := step(60, 60); got.Budget >= maxBudget || got.Budget == 0 {
		t.Fatalf("%+v, want a smaller budget", got)
	}
	var got Sampling
	for range 100 {
		got = step(10, 40)
	}
	if got.Budget != maxBudget || got.N == 1 {
		t.Errorf("%+v in the end, want a budget of %d", got, maxBudget)
	}
}

// TestSlowPackets has a flow whose packets wait before they are records, and for a while are many more.
func TestSlowPackets(t *testing.T) {
	t.Parallel()
	const usual, flood = 600, 6000 // packets an epoch
	for _, late := range []int{5, 30, 60, 100} {
		g := New(Limits{MaxRecords: 2000, MaxCPU: 1})
		now, changed := Everything, 0
		var sent []uint64
		var under []Sampling // which of them began
		for epoch := range 1500 {
			sent, under = append(sent, usual), append(under, now)
			if epoch >= 300 && epoch < 500 {
				sent[epoch] = flood
			}
			spent := Spent{Elapsed: Epoch}
			if began := epoch - late; began >= 0 {
				spent.Certain = sent[began]
				if s := under[began]; s.N > 1 {
					spent.Certain = min(sent[began], uint64(s.Budget))
					spent.Chosen = (sent[began] - spent.Certain) / uint64(s.N)
				}
				if began < changed {
					spent.OldCertain, spent.OldChosen = spent.Certain, spent.Chosen
				}
			}
			next := g.Step(spent)
			if next != now {
				now, changed = next, epoch+1
			}
			if epoch >= late && now.Budget < 16 || epoch < 300 && now.N > 8 {
				t.Fatalf("%d epochs late, epoch %d: %+v", late, epoch, now)
			}
			if settled := 500 + 2*late; epoch > settled && spent.Certain+spent.Chosen > 200 {
				t.Fatalf("%d epochs late, epoch %d: %d records, at most 200 were wanted", late, epoch, spent.Certain+spent.Chosen)
			}
		}
		if now.N < 4 || now.N > 8 { // it loosens only to what is well below the limit
			t.Errorf("%d epochs late: %+v, want one in 4 or 8", late, now)
		}
	}
}
