package incident

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
)

// Usual is the usual p50 delay of a stage.
type Usual struct {
	aggregate.StageKey
	P50 float64 `json:"p50_seconds"`
}

// Speed is that of a link.
type Speed struct {
	Ifindex int     `json:"ifindex"`
	Bits    float64 `json:"bits_per_second"`
}

// UsualOf lists what was learnt.
func UsualOf(known map[aggregate.StageKey]float64) []Usual {
	list := make([]Usual, 0, len(known))
	for key, p50 := range known {
		list = append(list, Usual{key, p50})
	}
	slices.SortFunc(list, func(a, b Usual) int {
		return cmp.Or(cmp.Compare(a.Device, b.Device), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Direction, b.Direction))
	})
	return list
}

// SpeedsOf lists links' speeds by the device's index.
func SpeedsOf(known map[int]float64) []Speed {
	list := make([]Speed, 0, len(known))
	for ifindex, bits := range known {
		list = append(list, Speed{ifindex, bits})
	}
	slices.SortFunc(list, func(a, b Speed) int { return cmp.Compare(a.Ifindex, b.Ifindex) })
	return list
}
