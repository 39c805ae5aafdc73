package loader

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

const (
	watchedBuckets = uint32(bpfobj.TracerTableWATCHED_BUCKETS)
	// AllConnections is the number for WatchConnections by which all are watched.
	AllConnections = uint64(1) << 32
	// requestTimeout is after what time a request counts as unanswered.
	requestTimeout = 60 * time.Second
	// givenUpAfter is after what time one does whose client has closed its half of the connection since: what it closes at once it may still be
	// answered over.
	givenUpAfter = 5 * time.Second
	// watchedIdle is for how long a connection that asks nothing is looked for beyond the share that is watched.
	watchedIdle = 60 * time.Second
	// stragglers is for how long connections are looked for that are beyond the share, once that has become smaller.
	stragglers = 2 * time.Minute
)

// watchedTable is the connections whose requests are timed.
type watchedTable struct {
	told   map[watchedRequest]bool // what was told: what waits for longer than requestTimeout, and the last one of who is left out
	below  uint64                  // the share that is watched; 0: not told yet
	look   uint64                  // the share that is looked for; 0: not told yet
	shrunk time.Duration           // when the share became smaller last
}

// watchedRequest is a request of a connection.
type watchedRequest struct {
	flow  bpfobj.TracerFlow
	asked uint64
}

// WatchedConnections are what a look at the table found.
type WatchedConnections struct {
	// Held is how many slots may not be given to others, of Room, without those of connections beyond the share that is watched.
	Held, Room int
	// Unanswered are requests that have waited for longer than a minute now, or of which the client has closed meanwhile, each told once.
	Unanswered []record.Record
	// LeftOut are connections of which requests were timed until it showed that they do not alternate, each told once.
	LeftOut []record.Record

	highest uint64 // one more than the greatest number of a connection that asked lately
}

// WatchConnections has the programs time the requests of connections that begin from now on and whose number, a hash below
// 2^32, is below that; of those that there are, as long as they ask. found is what WatchedConnections returned last.
func (l *Loader) WatchConnections(below uint64, found WatchedConnections) error {
	look := l.watched.share(below, found.highest, Monotonic())
	return l.change(func(c *bpfobj.TracerConfig) {
		c.WatchBelow, c.LookBelow, c.WatchWeight = below, look, uint32(AllConnections/max(1, below))
	})
}

// share notes which connections are watched from now on, and returns which are to be looked for: with those that began when there were
// more, up to highest, for a while. Not for as long as they last, or the first packet of each connection would be looked at because of one.
func (t *watchedTable) share(below, highest uint64, now time.Duration) (look uint64) {
	if below < t.below {
		t.shrunk = now
	}
	t.below, t.look = below, below
	if t.shrunk > 0 && now-t.shrunk < stragglers {
		t.look = max(below, highest)
	}
	return t.look
}

// WatchedConnections looks at the connections whose requests are timed. Not to be called by two at once.
func (l *Loader) WatchedConnections() (found WatchedConnections, err error) {
	told := map[watchedRequest]bool{}
	found.Room = int(watchedBuckets) * int(bpfobj.TracerTableSLOTS_PER_BUCKET)
	for from := uint32(0); from < watchedBuckets && err == nil; from += scanChunk {
		err = change(l.objects.table.variables, l.objects.watchedAt, from, scanChunk, func(buckets []bpfobj.TracerWatchedBucket) error {
			now := Monotonic()
			for i := range buckets {
				l.watched.scan(&buckets[i], now, &found, told)
			}
			return nil
		})
	}
	if err != nil {
		return WatchedConnections{}, fmt.Errorf("map the table of connections: %w", err)
	}
	l.watched.told = told
	return found, nil
}

// scan looks at a bucket. What a program writes meanwhile may be mixed up: so whoever waits is trusted where tag and time are the same afterwards.
func (t *watchedTable) scan(b *bpfobj.TracerWatchedBucket, now time.Duration, found *WatchedConnections, told map[watchedRequest]bool) {
	if !slices.ContainsFunc(b.Tag[:], func(tag uint64) bool { return tag != 0 }) {
		return
	}
	for slot := range b.Tag {
		tag := atomic.LoadUint64(&b.Tag[slot])
		if tag == 0 {
			continue
		}
		w := loadWords(&b.Slot[slot])
		flow := convertFlow(&w.Flow)
		number := ConnectionNumber(&flow)
		if t.look > 0 && number >= t.look {
			// Nobody notes any more how far it is.
			atomic.StoreUint64(&b.Tag[slot], 0)
			continue
		}
		age := now - time.Duration(w.AskedNs)
		waits := w.State == uint8(bpfobj.TracerWatchedStateWATCHED_ASKED)
		opens := w.State == uint8(bpfobj.TracerWatchedStateWATCHED_OPENING)
		if age < watchedIdle || waits {
			found.highest = max(found.highest, number+1)
			keeps := w.Answers > 0 || waits && (w.Client == 0 || w.Flags&uint8(bpfobj.TracerWatchedFlagWATCHED_ACCEPTED) != 0)
			if keeps && (t.below == 0 || number < t.below) {
				found.Held++
			}
		}
		leftOut := w.State == uint8(bpfobj.TracerWatchedStateWATCHED_LEFT_OUT) && w.Answers > 0 && age < watchedIdle
		late := age >= requestTimeout && (opens || waits && isRequestOf(&w))
		givenUp := age >= givenUpAfter && waits && isRequestOf(&w) && w.Flags&clientFIN(&w) != 0
		if !leftOut && !late && !givenUp {
			continue
		}
		again := loadWords(&b.Slot[slot])
		if atomic.LoadUint64(&b.Tag[slot]) != tag || again.AskedNs != w.AskedNs || again.State != w.State {
			continue
		}
		request := watchedRequest{w.Flow, w.AskedNs}
		told[request] = true
		if t.told[request] {
			continue
		}
		var r record.Record
		ended := now
		if givenUp {
			ended = time.Duration(w.ClosedNs)
		}
		setRequest(&r, &w.Flow, w.Ifindex, time.Duration(w.AskedNs), ended)
		r.Weight = w.Weight
		r.Request.Outcome, r.Request.Client = record.TimedOut, w.Client == 0
		r.Request.Repeated = w.Flags&uint8(bpfobj.TracerWatchedFlagWATCHED_REPEATED) != 0
		switch {
		case leftOut:
			r.Request.Outcome = record.LeftOut
			found.LeftOut = append(found.LeftOut, r)
			continue
		case opens:
			r.Request.Outcome = record.ConnectTimeout
		case givenUp:
			r.Request.Outcome = record.HalfClosed
		}
		found.Unanswered = append(found.Unanswered, r)
	}
}

// isRequestOf tells whether what a connection waits for is the answer to a request: as give_up() in bpf/request.bpf.h has it.
func isRequestOf(w *bpfobj.TracerWatched) bool {
	const notTimed = bpfobj.TracerWatchedFlagWATCHED_MIXED | bpfobj.TracerWatchedFlagWATCHED_LAST_WORD
	if w.Flow.Protocol != uint8(record.ProtocolTCP) {
		return true
	}
	flags := bpfobj.TracerWatchedFlag(w.Flags)
	if flags&(bpfobj.TracerWatchedFlagWATCHED_FIN_OTHER>>(w.Client&1)) != 0 {
		return false // the other end had closed before
	}
	small := w.Next[w.Client&1]-w.Began < uint32(bpfobj.TracerRequestSizeSMALL_REQUEST)
	return flags&notTimed == 0 && (!small || flags&bpfobj.TracerWatchedFlagWATCHED_REPEATED != 0)
}

// clientFIN is the flag of who asks having closed its half of the connection.
func clientFIN(w *bpfobj.TracerWatched) uint8 {
	return uint8(bpfobj.TracerWatchedFlagWATCHED_FIN_POD) << (w.Client & 1)
}

// ConnectionNumber is by what a connection is in the sample or not, below AllConnections, and the same for what either end sends: as
// number_of() in bpf/watch.bpf.h has it.
func ConnectionNumber(f *record.Flow) uint64 {
	source, destination := f.Source.Addr().As16(), f.Destination.Addr().As16()
	word := func(at int) uint32 {
		return binary.LittleEndian.Uint32(source[at:]) ^ binary.LittleEndian.Uint32(destination[at:])
	}
	addresses := word(12)
	if !f.Source.Addr().Is4() {
		addresses ^= word(8)
	}
	ports := f.Source.Port() ^ f.Destination.Port()
	return (uint64(addresses)<<16 ^ uint64(ports)) * 0x9e3779b97f4a7c15 >> 32
}
