package aggregate

import (
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// Requests are what the pair's first workload has asked the second one since the start, timed at the devices of their pods on this
// node. What the client's side has more than the server's was spent between the two devices.
type Requests struct {
	Client RequestSide `json:"client"` // at the device of a pod that asks
	Server RequestSide `json:"server"` // at that of a pod that is asked
}

// RequestSide are requests as they pass the devices of one side's pods.
type RequestSide struct {
	// Answered are those that were answered: seconds from the last packet of the request to the first of its answer.
	Answered hist.Histogram `json:"answered"`
	// Timed is how many records those come from, each of which stands for several requests where only some connections are watched.
	Timed uint64 `json:"timed"`
	// Connects are connections of TCP that were opened: seconds from the first SYN to the SYN-ACK, before any application.
	Connects hist.Histogram `json:"connects"`
	// Unanswered are requests that waited for longer than a minute, and those of which the connection was closed or reset first; and
	// SYNs likewise, but for those that were refused. Of who has never answered they are those alone of which a client closed its
	// connection after a second or later.
	Unanswered uint64 `json:"unanswered"`
	// Repeated are, of those answered and of the connects, the ones of which a packet was sent again.
	Repeated uint64 `json:"repeated"`
	// GivenUp, Closed and Waiting are, of those unanswered, the requests that nothing explains but the end that was asked. It had them, as TCP did not
	// send them again. GivenUp are those of which the client closed the connection, and Waiting those that wait for a minute, or of UDP for half of one until
	// the client asks anew: after patience().
	// Closed are those of which the end that was asked closed or reset the connection instead of an answer.
	GivenUp uint64 `json:"given_up"`
	Closed  uint64 `json:"closed"`
	Waiting uint64 `json:"waiting"`
	// EndedRecords is how many records GivenUp and Closed come from, and WaitingRecords how many Waiting does.
	EndedRecords   uint64 `json:"ended_records"`
	WaitingRecords uint64 `json:"waiting_records"`
	// LeftOut are connections that turned out not to alternate, so that what was timed of them before may be other than it was taken for.
	LeftOut uint64 `json:"left_out"`

	recent recentTimes // of those answered; none in a snapshot
}

// clone returns a copy that does not change any more.
func (r *Requests) clone() *Requests {
	if r == nil {
		return nil
	}
	return &Requests{r.Client.clone(), r.Server.clone()}
}

// since is what was added after old; nil if nothing was.
func (r *Requests) since(old *Requests) *Requests {
	if r == nil || old == nil {
		return r
	}
	d := &Requests{r.Client.since(&old.Client), r.Server.since(&old.Server)}
	if d.Client.empty() && d.Server.empty() {
		return nil
	}
	return d
}

// began tells whether these began anew after old: there are fewer.
func (r *Requests) began(old *Requests) bool {
	return old != nil && (r == nil || r.Client.Count() < old.Client.Count() || r.Server.Count() < old.Server.Count())
}

// Merge adds what other counted.
func (r *Requests) Merge(other *Requests) {
	if other == nil {
		return
	}
	r.Client.merge(&other.Client)
	r.Server.merge(&other.Server)
}

func (s *RequestSide) clone() RequestSide {
	c := *s
	c.Answered, c.Connects, c.recent = s.Answered.Clone(), s.Connects.Clone(), recentTimes{}
	return c
}

func (s *RequestSide) since(old *RequestSide) RequestSide {
	d := s.clone()
	d.Answered.Sub(&old.Answered)
	d.Connects.Sub(&old.Connects)
	d.Timed -= min(d.Timed, old.Timed)
	d.Unanswered -= min(d.Unanswered, old.Unanswered)
	d.GivenUp -= min(d.GivenUp, old.GivenUp)
	d.Closed -= min(d.Closed, old.Closed)
	d.Waiting -= min(d.Waiting, old.Waiting)
	d.EndedRecords -= min(d.EndedRecords, old.EndedRecords)
	d.WaitingRecords -= min(d.WaitingRecords, old.WaitingRecords)
	d.Repeated -= min(d.Repeated, old.Repeated)
	d.LeftOut -= min(d.LeftOut, old.LeftOut)
	return d
}

func (s *RequestSide) merge(other *RequestSide) {
	s.Answered.Merge(&other.Answered)
	s.Connects.Merge(&other.Connects)
	s.Timed += other.Timed
	s.Unanswered += other.Unanswered
	s.GivenUp += other.GivenUp
	s.Closed += other.Closed
	s.Waiting += other.Waiting
	s.EndedRecords += other.EndedRecords
	s.WaitingRecords += other.WaitingRecords
	s.Repeated += other.Repeated
	s.LeftOut += other.LeftOut
}

func (s *RequestSide) empty() bool { return s.Count() == 0 }

// Count is how many requests and connects there are, answered or not.
func (s *RequestSide) Count() uint64 { return s.Answered.Count() + s.Connects.Count() + s.Unanswered }

// add counts a request.
func (s *RequestSide) add(r *record.Request, weight uint64, tcp bool) {
	switch r.Outcome {
	case record.Answered:
		s.Answered.ObserveDuration(r.Took, weight)
		s.Timed++
		s.recent.add(r.Took)
	case record.Connected:
		s.Connects.ObserveDuration(r.Took, weight)
	case record.ConnectTimeout:
		s.Unanswered += weight
		return
	case record.LeftOut:
		s.LeftOut++
		return
	case record.GivenUp, record.HalfClosed, record.Closed, record.TimedOut:
		// Who has never answered may not be meant to: logs and metrics are sent so. But then nobody waits, and closes after a single message.
		gaveUp := tcp && !r.Repeated && (r.Outcome == record.GivenUp || r.Outcome == record.HalfClosed) && r.Took >= leastPatience
		if s.Answered.Count() > 0 || gaveUp {
			s.addUnanswered(r, weight, tcp)
		}
		return
	}
	if r.Repeated {
		s.Repeated += weight
	}
}

// addUnanswered counts a request that has had no answer.
func (s *RequestSide) addUnanswered(r *record.Request, weight uint64, tcp bool) {
	s.Unanswered += weight
	switch waited := r.Took >= s.patience(); {
	case tcp && r.Repeated: // it may have been lost on its way
	case r.Outcome == record.Closed:
		s.Closed += weight
		s.EndedRecords++
	case !waited:
	case r.Outcome == record.TimedOut, !tcp: // nobody closes a connection of UDP: what goes on may never have waited
		s.Waiting += weight
		s.WaitingRecords++
	default:
		s.GivenUp += weight
		s.EndedRecords++
	}
}

const (
	// leastPatience is for how long a request waits at least of which it means something that it has had no answer. TCP would have sent it
	// again by then, had it been lost.
	leastPatience = time.Second
	// A request that waits so many times as long as nearly all others had to lately is late. Others are long polls, and who closes those has
	// given up nothing.
	patiencePercent, patienceFactor = 99, 2
	// recentRecords is how many of the latest records that tells of at most.
	recentRecords = 1024
)

// patience is for how long a request has to wait until it means something that it has had no answer.
func (s *RequestSide) patience() time.Duration {
	return max(leastPatience, patienceFactor*s.recent.usual())
}

// recentTimes counts the latest records of answers by how long they took: up to the n-th doubling of half a second, or, in the last one, longer.
type recentTimes [10]uint32

// bound is what those of a place took at most.
func (t *recentTimes) bound(place int) time.Duration { return leastPatience / 2 << place }

// add counts one, and forgets half of them when they are many.
func (t *recentTimes) add(took time.Duration) {
	place := 0
	for place < len(t)-1 && took > t.bound(place) {
		place++
	}
	t[place]++
	if t.count() < recentRecords {
		return
	}
	for i := range t {
		t[i] /= 2
	}
}

func (t *recentTimes) count() (n uint32) {
	for _, at := range t {
		n += at
	}
	return n
}

// usual is what nearly all of them took at most; half a second where there are none.
func (t *recentTimes) usual() time.Duration {
	place, upTo, all := 0, t[0], t.count()
	for ; 100*upTo < patiencePercent*all; upTo += t[place] {
		place++
	}
	return t.bound(place)
}

// addRequest counts what became of a request, for the pair of who asked and who was asked.
func (a *Aggregator) addRequest(rec *record.Record) {
	if rec.Request.Told {
		return
	}
	weight := uint64(max(1, rec.Weight))
	if rec.Request.Outcome < record.TimedOut { // what is found in the table comes from no ring, and is not missed
		weight *= 1 + a.missed[rec.Kind].next()
	}
	p := a.requestPair(rec)
	if p == nil {
		a.pathless++
		return
	}
	p.changed, p.lastSeen = true, max(p.lastSeen, rec.Time) // one given up is known only some time after its client closed
	if p.Requests == nil {
		p.Requests = &Requests{}
	}
	side := &p.Requests.Server
	if rec.Request.Client {
		side = &p.Requests.Client
	}
	side.add(rec.Request, weight, rec.First.Protocol == record.ProtocolTCP)
}

// requestPair returns the pair of who asked and who was asked; nil where that was a Service of which it is not known which pod is
// behind it.
func (a *Aggregator) requestPair(rec *record.Record) *pair {
	asked, received, direction := rec.First, false, journey.Out
	if !rec.Request.Client {
		asked.Source, asked.Destination, received, direction = asked.Destination, asked.Source, true, journey.In
	}
	key := newConnectionKey(&asked, received)
	if p := a.connections.pair(key); p != nil {
		return p
	}
	if p := a.connections.pair(key.ofAnyPort()); p != nil {
		return p
	}
	return a.pairByNames(asked, rec.Time, direction)
}
