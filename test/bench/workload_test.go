package main

import (
	"testing"
	"time"

	"tracer/internal/loader"
	"tracer/test/steady"
)

// testOverlay makes one for tests that attach programs of the bench to it.
func testOverlay(t *testing.T) *overlay {
	t.Helper()
	features, err := loader.ProbeFeatures()
	if err != nil {
		t.Fatal(err)
	}
	if !features.TCX {
		t.Skip("the bench attaches its own programs by TCX, of Linux 6.6 or newer")
	}
	steady.Watch(t)
	o, err := newOverlay(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := o.Close(); err != nil {
			t.Error(err)
		}
	})
	return o
}

// TestWorkloads sends each through the overlay, where empty programs meet it.
func TestWorkloads(t *testing.T) {
	t.Parallel()
	o := testOverlay(t)
	e, err := attachEmpty(o.Node(1), everywhere)
	if err != nil {
		t.Fatal(err)
	}
	loads := kinds()
	for i := range loads {
		w := &loads[i]
		rate, err := w.run(t.Context(), o, 100*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		setPace(loads, w, rate)
		t.Logf("%s: %.0f %s", w.name, rate, w.unit)
		if rate <= 0 {
			t.Errorf("%s: %.0f %s", w.name, rate, w.unit)
		}
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}
