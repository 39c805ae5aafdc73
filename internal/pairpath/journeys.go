package pairpath

import (
	"cmp"
	"slices"

	"tracer/internal/record"
	"tracer/internal/trace"
)

// MaxJourneys is how many single packets of each way and side a Query may ask for.
const MaxJourneys = 200

// Sides of a Journey.
const (
	Left = "left" // the node, for another
	Came = "came" // from another
	Lost = "lost" // here, before it left
)

// Journey is one packet's on one node.
type Journey struct {
	Way    string      `json:"way"`    // there or back
	Side   string      `json:"side"`   // left, came or lost
	Packet uint64      `json:"packet"` // which it is, for this and the other node: as Crossing's
	At     int64       `json:"at_ns"`  // when it left or came: CLOCK_MONOTONIC of the node
	Trace  trace.Trace `json:"trace"`
}

// Kept is a packet's record that a Recorder has kept whole.
type Kept struct {
	Way, Side string
	Packet    uint64
	At        int64
	Record    record.Record
}

// Journeys are the packets that were kept whole, of each way and side those with the least numbers: so does the other node, of the same
// packets.
func (r *Recorder) Journeys() (all []Kept) {
	for _, w := range []struct {
		name string
		way  *way
	}{{There, &r.there}, {Back, &r.back}} {
		for _, s := range []struct {
			name string
			kept *keptRecords
		}{{Left, &w.way.leftWhole}, {Came, &w.way.cameWhole}, {Lost, &w.way.lostWhole}} {
			s.kept.shorten()
			for i := range s.kept.all {
				k := s.kept.all[i]
				k.Way, k.Side = w.name, s.name
				all = append(all, k)
			}
		}
	}
	return all
}

// keptRecords are those with the least numbers, at most so many.
type keptRecords struct {
	most int
	all  []Kept
}

// replace has a packet's record in place of an earlier one, which did not tell its end.
func (k *keptRecords) replace(packet uint64, rec *record.Record) {
	for i := range k.all {
		if k.all[i].Packet == packet {
			k.all[i].Record = *rec
		}
	}
}

func (k *keptRecords) add(c Crossing, rec *record.Record) {
	if k.most == 0 {
		return
	}
	k.all = append(k.all, Kept{Packet: c.Packet, At: c.At, Record: *rec})
	if len(k.all) >= 2*k.most {
		k.shorten()
	}
}

func (k *keptRecords) shorten() {
	slices.SortStableFunc(k.all, func(x, y Kept) int { return cmp.Compare(x.Packet, y.Packet) })
	k.all = k.all[:min(k.most, len(k.all))]
}
