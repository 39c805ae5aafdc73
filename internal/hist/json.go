package hist

import (
	"encoding/json"
	"fmt"
	"slices"
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
	w := jsonHistogram{Counts: used, Zero: h.zero, Sum: h.sum}
	if len(used) > 0 {
		w.First = first
	}
	return json.Marshal(w)
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
