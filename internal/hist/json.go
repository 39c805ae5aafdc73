package hist

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// jsonHistogram is a Histogram as JSON has it.
type jsonHistogram struct {
	First  int      `json:"first,omitempty"`  // index of the first of counts
	Counts []uint64 `json:"counts,omitempty"` // from the first to the last bucket that is not empty
	Zero   uint64   `json:"zero,omitempty"`
	Sum    float64  `json:"sum,omitempty"` // seconds
}

// MarshalJSON writes the used buckets as one array. An empty histogram is {}.
func (h Histogram) MarshalJSON() ([]byte, error) {
	used, first := h.used()
	// By hand: snapshots have thousands of histograms, and by reflection they would be most of the time that it takes to write one.
	text := make([]byte, 0, 64+4*len(used))
	field := func(name string) {
		separator := byte(',')
		if len(text) == 0 {
			separator = '{'
		}
		text = append(append(append(text, separator, '"'), name...), '"', ':')
	}
	if len(used) > 0 {
		if first != 0 {
			field("first")
			text = strconv.AppendInt(text, int64(first), 10)
		}
		field("counts")
		for i, n := range used {
			text = append(text, "[,"[min(i, 1)])
			text = strconv.AppendUint(text, n, 10)
		}
		text = append(text, ']')
	}
	if h.zero != 0 {
		field("zero")
		text = strconv.AppendUint(text, h.zero, 10)
	}
	if h.sum != 0 {
		sum, err := json.Marshal(h.sum)
		if err != nil {
			return nil, fmt.Errorf("write histogram: %w", err)
		}
		field("sum")
		text = append(text, sum...)
	}
	if len(text) == 0 {
		text = append(text, '{')
	}
	return append(text, '}'), nil
}

// UnmarshalJSON reads what MarshalJSON wrote. It refuses buckets that no duration can have.
func (h *Histogram) UnmarshalJSON(data []byte) error {
	var w jsonHistogram
	if err := json.Unmarshal(data, &w); err != nil {
		return fmt.Errorf("read histogram: %w", err)
	}
	last := w.First + len(w.Counts) - 1
	if w.First < index(ZeroThreshold) || w.First > maxIndex || last > maxIndex {
		return fmt.Errorf("read histogram: buckets %d to %d are outside of %d to %d", w.First, last, index(ZeroThreshold), maxIndex)
	}
	*h = Histogram{counts: slices.Clone(w.Counts), first: w.First, zero: w.Zero, count: w.Zero, sum: w.Sum}
	for _, n := range w.Counts {
		h.count += n
	}
	return nil
}
