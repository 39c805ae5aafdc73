package diagnose

import (
	"testing"

	"tracer/internal/aggregate"
)

func TestConfidence(t *testing.T) {
	t.Parallel()
	few, many := confidence(3, 1, &aggregate.Snapshot{}), confidence(1000, 1, &aggregate.Snapshot{})
	torn := confidence(1000, 0.2, &aggregate.Snapshot{})
	lossy := confidence(1000, 1, &aggregate.Snapshot{Records: 300, MissedRecords: 100})
	if !(few < many && torn < many && lossy < many) || many > 1 || few != 0.6 {
		t.Errorf("few %v, many %v, torn %v, lossy %v", few, many, torn, lossy)
	}
}
