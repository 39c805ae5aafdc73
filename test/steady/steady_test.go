package steady

import (
	"testing"
	"time"
)

func TestWatch(t *testing.T) {
	t.Parallel()
	stop := watch()
	time.Sleep(50 * time.Millisecond)
	d := stop()
	if d.Late < 0 || d.Late > time.Minute || d.Steal < 0 || d.Steal > 1 || d.Waiting < 0 {
		t.Errorf("%+v: %v", d, d)
	}
}

func TestOver(t *testing.T) {
	t.Parallel()
	for _, d := range []Disturbance{{Late: 20 * time.Millisecond}, {Steal: 0.2}} {
		if !d.Over(Default) {
			t.Errorf("%v is borne", d)
		}
	}
	if d := (Disturbance{Late: 4 * time.Millisecond, Steal: 0.01, Waiting: time.Hour}); d.Over(Default) {
		t.Errorf("%v is not borne", d)
	}
}

func TestCPUTime(t *testing.T) {
	t.Parallel()
	if stolen, total := cpuTime([]byte("cpu  10 20 30 40 0 0 0 100 7 0\ncpu0 1\n")); stolen != 100 || total != 200 {
		t.Errorf("%v of %v stolen", stolen, total)
	}
	if stolen, total := cpuTime(nil); stolen != 0 || total != 0 {
		t.Errorf("of nothing %v of %v stolen", stolen, total)
	}
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	still := func() func() Disturbance {
		return func() Disturbance { return Disturbance{Late: time.Second} }
	}
	tries, cleaned := 0, 0
	measure(t, Default, still, func(t *T) {
		t.Cleanup(func() { cleaned++ })
		if tries++; tries < 3 {
			t.Fatalf("try %d was too slow", tries)
		}
	})
	if tries != 3 || cleaned != 3 {
		t.Errorf("%d tries, %d cleaned", tries, cleaned)
	}
	tries = 0
	measure(t, Default, still, func(*T) { tries++ })
	if tries != 1 {
		t.Errorf("what was right was tried %d times", tries)
	}
}
