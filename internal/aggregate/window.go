package aggregate

import (
	"tracer/internal/journey"
	"tracer/internal/record"
)

// Since returns the window between old, an earlier snapshot of the same aggregator, and s: the counts and histograms of what
// happened in it, without empty entries. InFlight, Unanswered and Blocked are those of s. An entry with less than before was evicted and came back: all
// of it is new. If old is nil, the window is s itself.
func (s *Snapshot) Since(old *Snapshot) *Snapshot {
	if old == nil {
		return s
	}
	w := &Snapshot{
		Taken:         s.Taken,
		Clock:         s.Clock,
		Window:        s.Taken.Sub(old.Taken),
		Stages:        stagesSince(s.Stages, old.Stages),
		Drops:         dropsSince(s.Drops, old.Drops),
		InFlight:      s.InFlight,
		Unanswered:    s.Unanswered,
		Blocked:       s.Blocked,
		AnswersSeen:   s.AnswersSeen - min(s.AnswersSeen, old.AnswersSeen),
		AnswersUnseen: s.AnswersUnseen - min(s.AnswersUnseen, old.AnswersUnseen),
		Records:       s.Records - min(s.Records, old.Records),
		MissedRecords: s.MissedRecords - min(s.MissedRecords, old.MissedRecords),
		Pathless:      s.Pathless - min(s.Pathless, old.Pathless),
		PairOverflow:  s.PairOverflow - min(s.PairOverflow, old.PairOverflow),
		FlowOverflow:  s.FlowOverflow - min(s.FlowOverflow, old.FlowOverflow),
	}
	pairs := finder[PairKey, Pair]{list: old.Pairs, key: func(p *Pair) *PairKey { return &p.PairKey }}
	w.Pairs = make([]Pair, 0, len(s.Pairs)) // growing it would be a third of what this allocates
	for i := range s.Pairs {
		if p := s.Pairs[i].since(pairs.find(&s.Pairs[i].PairKey)); p.Packets > 0 || len(p.Drops) > 0 || len(p.Stages) > 0 || p.TCP != nil || p.Requests != nil {
			w.Pairs = append(w.Pairs, p)
		}
	}
	flows := byKey(old.Flows, (*Flow).tuple)
	for i := range s.Flows {
		if f := s.Flows[i].since(flows[s.Flows[i].tuple()]); f.Packets > 0 || f.Drops > 0 {
			w.Flows = append(w.Flows, f)
		}
	}
	return w
}

func (p Pair) since(old *Pair) Pair {
	if old == nil || p.Packets < old.Packets || p.Requests.began(old.Requests) {
		return p
	}
	p.Packets -= old.Packets
	p.Bytes = max(0, p.Bytes-old.Bytes)
	p.Path = p.Path.Clone()
	p.Path.Sub(&old.Path)
	p.Untimed -= min(p.Untimed, old.Untimed)
	p.Stages = stagesSince(p.Stages, old.Stages)
	p.Drops = dropsSince(p.Drops, old.Drops)
	p.TCP = p.TCP.since(old.TCP)
	p.Requests = p.Requests.since(old.Requests)
	p.BareAnswers = p.BareAnswers.since(old.BareAnswers)
	return p
}

func (f Flow) since(old *Flow) Flow {
	if old == nil || f.Packets < old.Packets || f.Drops < old.Drops {
		return f
	}
	f.Packets -= old.Packets
	f.Bytes = max(0, f.Bytes-old.Bytes)
	f.Drops -= old.Drops
	f.Path = f.Path.Clone()
	f.Path.Sub(&old.Path)
	f.Stages = timesSince(f.Stages, old.Stages)
	f.TCP.RTTs -= min(f.TCP.RTTs, old.TCP.RTTs)
	f.TCP.RTTSeconds = max(0, f.TCP.RTTSeconds-old.TCP.RTTSeconds)
	f.TCP.Retransmits -= min(f.TCP.Retransmits, old.TCP.Retransmits)
	return f
}

// timesSince takes away what old had: stages come in the order in which they were first seen, so that each has its
// place.
func timesSince(now, old []StageTime) []StageTime {
	var out []StageTime
	for i, t := range now {
		if i < len(old) && old[i].StageKey == t.StageKey {
			t.Count -= min(t.Count, old[i].Count)
			t.Seconds = max(0, t.Seconds-old[i].Seconds)
		}
		if t.Count > 0 {
			out = append(out, t)
		}
	}
	return out
}

func stagesSince(now, old []StageDelay) []StageDelay {
	out := make([]StageDelay, 0, len(now))
	before := finder[StageKey, StageDelay]{list: old, key: func(s *StageDelay) *StageKey { return &s.StageKey }}
	for _, s := range now {
		if o := before.find(&s.StageKey); o != nil && s.Passed() >= o.Passed() {
			s.Delay = s.Delay.Clone()
			s.Delay.Sub(&o.Delay)
			s.Untimed -= min(s.Untimed, o.Untimed)
		}
		if s.Passed() > 0 {
			out = append(out, s)
		}
	}
	return out
}

func dropsSince(now, old []DropCount) []DropCount {
	var out []DropCount
	before := finder[DropKey, DropCount]{list: old, key: func(d *DropCount) *DropKey { return &d.DropKey }}
	for _, d := range now {
		if o := before.find(&d.DropKey); o != nil && d.Packets >= o.Packets {
			d.Packets -= o.Packets
			d.Segments -= min(d.Segments, o.Segments)
			d.SYNs -= min(d.SYNs, o.SYNs)
		}
		if d.Packets > 0 {
			out = append(out, d)
		}
	}
	return out
}

// tuple is what tells flows apart.
type tuple struct {
	first, last record.Flow
	direction   journey.Direction
}

func (f *Flow) tuple() tuple { return tuple{f.First, f.Last, f.Direction} }

// finder finds a list's entries by their keys. It looks first behind the one that it found last: two snapshots have theirs in one order,
// and a map is needed only where something came or went.
type finder[K comparable, V any] struct {
	list []V
	key  func(*V) *K
	next int
	at   map[K]int // nil as long as there was no need for it
}

// find returns nil where there is none.
func (f *finder[K, V]) find(k *K) *V {
	if f.next == len(f.list) || *f.key(&f.list[f.next]) != *k {
		if f.at == nil {
			f.at = make(map[K]int, len(f.list))
			for i := range f.list {
				f.at[*f.key(&f.list[i])] = i
			}
		}
		i, ok := f.at[*k]
		if !ok {
			return nil
		}
		f.next = i
	}
	f.next++
	return &f.list[f.next-1]
}

// byKey indexes a list by its entries' keys.
func byKey[K comparable, V any](list []V, key func(*V) K) map[K]*V {
	m := make(map[K]*V, len(list))
	for i := range list {
		m[key(&list[i])] = &list[i]
	}
	return m
}
