package agent

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/loader"
	"tracer/internal/record"
)

func TestNextOneIn(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		oneIn          uint64
		requests, full float64
		want           uint64
	}{
		{1, 0, 0, 1},
		{1, maxRequests + 1, 0, 2},
		{1, 0, 0.45, 2},
		{8, maxRequests / 2, 0.1, 8},
		{8, 100, 0.2, 8},
		{8, 100, 0.1, 4},
		{leastWatched, maxRequests + 1, 1, leastWatched},
	} {
		if got := nextOneIn(test.oneIn, test.requests, test.full); got != test.want {
			t.Errorf("one in %d, %v requests a second, %v full: next one in %d, want %d", test.oneIn, test.requests, test.full, got, test.want)
		}
	}
}

// playedTable is the kernel's part: who is watched, of how many there is room for.
type playedTable struct {
	below, look uint64
	shrunk      int // the second in which the share became smaller
	kept        []playedConnection
	room        int
}

type playedConnection struct {
	flow    record.Flow
	watched bool
}

// second plays one: w counts the records of requests. It returns how many slots of the share are held, and the highest number of a connection
// that asked.
func (p *playedTable) second(w *watchedConnections, perSecond int, news []record.Flow) (held int, highest uint64) {
	batch := []record.Record{{Kind: record.Requested}}
	ask := func(flow *record.Flow, times int) {
		number := loader.ConnectionNumber(flow)
		highest = max(highest, number+1)
		if number < p.below {
			held++
		}
		batch[0].First = *flow
		for range times {
			w.count(batch)
		}
	}
	for i := range p.kept {
		c := &p.kept[i]
		number := loader.ConnectionNumber(&c.flow)
		c.watched = number < p.below || c.watched && number < p.look
		if c.watched {
			ask(&c.flow, perSecond)
		}
	}
	for i := range news {
		if loader.ConnectionNumber(&news[i]) < p.below {
			ask(&news[i], 1)
		}
	}
	return held, highest
}

// share is what loader.WatchConnections does: whoever is beyond the share is looked for for two minutes more.
func (p *playedTable) share(below, highest uint64, second int) {
	if below < p.below {
		p.shrunk = second
	}
	p.below, p.look = below, below
	if p.shrunk > 0 && second-p.shrunk < 120 {
		p.look = max(below, highest)
	}
}

// TestWatchedShareSettles has the share come to rest where its own connections load it well, although those beyond it go on for two minutes.
func TestWatchedShareSettles(t *testing.T) {
	t.Parallel()
	const loaded, seconds = 160, 300
	random := rand.New(rand.NewPCG(1, 2))
	flow := func() record.Flow {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(random.Uint32()), byte(random.Uint32())}), uint16(random.Uint32()))
		return record.Flow{Source: from, Destination: netip.MustParseAddrPort("10.0.0.2:80"), Protocol: record.ProtocolTCP}
	}
	for _, test := range []struct {
		name                   string
		kept, perSecond, news  int
		room                   int
		atLeast, atMost, calms uint64 // of how many one is watched under the load, and once the load has ended
	}{
		{"records", 200, 75, 100, 1 << 20, 2, 4, 1},
		{"many records", 400, 300, 100, 1 << 20, 8, 32, 1},
		{"the table", 600, 1, 10, 1000, 2, 4, 1},
		{"little", 200, 5, 100, 1 << 20, 1, 1, 1},
	} {
		p := playedTable{below: loader.AllConnections, look: loader.AllConnections, room: test.room}
		for range test.kept {
			p.kept = append(p.kept, playedConnection{flow: flow()})
		}
		var w watchedConnections
		began := time.Now()
		for second := range seconds {
			if second == loaded {
				p.kept = nil
			}
			news := make([]record.Flow, test.news)
			for i := range news {
				news[i] = flow()
			}
			held, highest := p.second(&w, test.perSecond, news)
			p.share(w.decide(began.Add(time.Duration(second)*time.Second), float64(held)/float64(p.room)), highest, second)
			oneIn := max(1, w.oneIn.Load())
			if oneIn > test.atMost || second > 20 && second < loaded && oneIn < test.atLeast || second == seconds-1 && oneIn != test.calms {
				t.Errorf("%s: one in %d after %d s, want %d to %d, and %d once it has ended", test.name, oneIn, second, test.atLeast, test.atMost, test.calms)
				break
			}
		}
	}
}
