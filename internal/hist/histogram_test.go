package hist

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"
)

// TestBounds compares the table with the definition.
func TestBounds(t *testing.T) {
	t.Parallel()
	for k, bound := range bounds {
		want := math.Exp2(float64(k) / 16)
		if math.Abs(bound-want) > 4e-16*want {
			t.Errorf("bound %d is %v, want %v", k, bound, want)
		}
	}
}

// TestIndex checks the buckets' definition at and around each bound: bucket i is (2^((i-1)/16), 2^(i/16)].
func TestIndex(t *testing.T) {
	t.Parallel()
	for i := index(ZeroThreshold); i < maxIndex; i++ {
		upper := upperBound(i)
		if got := index(upper); got != i {
			t.Fatalf("index(%v) = %d, want %d: the upper bound belongs to the bucket", upper, got, i)
		}
		if got := index(math.Nextafter(upper, math.Inf(1))); got != i+1 {
			t.Fatalf("index just above %v = %d, want %d", upper, got, i+1)
		}
	}
	for seconds, want := range map[float64]int{1: 0, 2: 16, 0.5: -16, 1e9: maxIndex, math.Inf(1): maxIndex} {
		if got := index(seconds); got != want {
			t.Errorf("index(%v) = %d, want %d", seconds, got, want)
		}
	}
}

func FuzzIndex(f *testing.F) {
	f.Add(0.000021)
	f.Add(1.0)
	f.Add(501e-3)
	f.Fuzz(func(t *testing.T, seconds float64) {
		if !(seconds > ZeroThreshold) || seconds > 60000 {
			return
		}
		i := index(seconds)
		if seconds > upperBound(i) || seconds <= upperBound(i-1) {
			t.Errorf("%v is not in bucket %d: (%v, %v]", seconds, i, upperBound(i-1), upperBound(i))
		}
	})
}

// draw returns durations from nanoseconds to minutes, in two heaps as a faulted path has them.
func draw(r *rand.Rand, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 20e-6 * math.Exp(r.NormFloat64())
		if r.IntN(4) == 0 {
			out[i] = 0.5 * math.Exp(r.NormFloat64()*2)
		}
	}
	return out
}

// TestQuantileError checks quantiles against the sorted values themselves.
func TestQuantileError(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		values := draw(r, 1+r.IntN(500))
		var h Histogram
		for _, v := range values {
			h.Observe(v, 1)
		}
		slices.Sort(values)
		for _, q := range []float64{0, 0.01, 0.25, 0.5, 0.9, 0.99, 1} {
			rank := max(0, int(math.Ceil(q*float64(len(values))))-1)
			want, got := values[rank], h.Quantile(q)
			if math.Abs(got-want) > want*MaxError {
				t.Fatalf("q%v of %d values is %v, want %v", q, len(values), got, want)
			}
		}
		if top := values[len(values)-1]; h.Max() < top || h.Max() > top*(1+MaxError) {
			t.Fatalf("Max() = %v, longest %v", h.Max(), top)
		}
	}
}

// TestMergeSub checks that a window is what happened in it: (a+b)-a is b, bucket by bucket.
func TestMergeSub(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var a, b, both Histogram
		for _, v := range draw(r, r.IntN(100)) {
			w := uint64(r.IntN(5))
			a.Observe(v, w)
			both.Observe(v, w)
		}
		for _, v := range append(draw(r, r.IntN(100)), 0) {
			b.Observe(v, 3)
			both.Observe(v, 3)
		}
		merged := a.Clone()
		merged.Merge(&b)
		assertEqual(t, &merged, &both)
		merged.Sub(&a)
		assertEqual(t, &merged, &b)
		merged.Sub(&b)
		if merged.Count() != 0 || merged.Sum() != 0 || merged.Max() != 0 {
			t.Fatalf("a histogram less itself holds %d", merged.Count())
		}
	}
}

func assertEqual(t *testing.T, got, want *Histogram) {
	t.Helper()
	g, w := got.Clone(), want.Clone()
	if !slices.Equal(g.counts, w.counts) || len(g.counts) > 0 && g.first != w.first || g.zero != w.zero || g.count != w.count {
		t.Fatalf("got %+v, want %+v", g, w)
	}
	if math.Abs(g.sum-w.sum) > 1e-9*(1+w.sum) {
		t.Fatalf("sum %v, want %v", g.sum, w.sum)
	}
}

// TestSubOfMore checks that a histogram that shrank leaves nothing negative.
func TestSubOfMore(t *testing.T) {
	t.Parallel()
	var now, old Histogram
	now.Observe(1, 2)
	now.Observe(4, 1)
	old.Observe(1, 5)
	now.Sub(&old)
	if now.Count() != 1 || now.Max() != 4 {
		t.Errorf("left %d up to %v s, want the one of 4 s", now.Count(), now.Max())
	}
}

// TestClone checks that what was handed out does not change any more.
func TestClone(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.ObserveDuration(time.Millisecond, 1)
	c := h.Clone()
	h.ObserveDuration(time.Millisecond, 1)
	h.Reset()
	if c.Count() != 1 || c.Quantile(0.5) == 0 {
		t.Errorf("the clone changed: %d", c.Count())
	}
	if h.Count() != 0 || h.Quantile(0.5) != 0 || h.Max() != 0 || h.Mean() != 0 {
		t.Errorf("reset left %+v", h)
	}
}

func TestNative(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.Observe(0, 7)
	h.Observe(1.02, 1) // schema 4: bucket 1, schema 3: bucket 1
	h.Observe(1.07, 2) // schema 4: bucket 2, schema 3: bucket 1
	h.Observe(1.10, 4) // schema 4: bucket 3, schema 3: bucket 2
	h.Observe(0.99, 8) // schema 4 and 3: bucket 0
	for schema, want := range map[int]map[int]uint64{
		4: {0: 8, 1: 1, 2: 2, 3: 4},
		3: {0: 8, 1: 3, 2: 4},
		0: {0: 8, 1: 7},
	} {
		got := map[int]uint64{}
		for i, n := range h.Native(schema) {
			got[i] += n
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("schema %d: %v, want %v", schema, got, want)
		}
	}
	if h.Zero() != 7 || h.Count() != 22 {
		t.Errorf("zero %d of %d", h.Zero(), h.Count())
	}
	for upper, n := range h.Buckets() {
		if upper != 1 || n != 8 {
			t.Errorf("the first bucket ends at %v with %d", upper, n)
		}
		break
	}
}

func TestCumulative(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.Observe(0, 1)
	h.Observe(0.0001, 2)
	h.Observe(0.5, 4)
	h.Observe(30, 8)
	got := h.Cumulative([]float64{0, 0.00005, 0.001, 0.5, 1, 60})
	if want := []uint64{1, 1, 3, 7, 7, 15}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestAbove(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.Observe(0, 1)
	h.Observe(0.001, 2)
	h.Observe(0.5, 4)
	for seconds, want := range map[float64]uint64{0: 6, 1e-6: 6, 0.02: 4, 1: 0} {
		if got := h.Above(seconds); got != want {
			t.Errorf("Above(%v) = %d, want %d", seconds, got, want)
		}
	}
}

func TestJSON(t *testing.T) {
	t.Parallel()
	var h Histogram
	h.Observe(1, 3)
	h.Observe(1.1, 1)
	h.Observe(0, 2)
	data, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"counts":[3,0,0,1],"zero":2,"sum":4.1}`; string(data) != want {
		t.Errorf("got %s, want %s", data, want)
	}
	var back Histogram
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	assertEqual(t, &back, &h)
	back.Observe(0.00002, 1) // it can go on

	var empty Histogram
	if data, _ := json.Marshal(empty); string(data) != "{}" {
		t.Errorf("an empty one is %s", data)
	}
	for _, bad := range []string{`[]`, `{"first":-9999,"counts":[1]}`, `{"first":1048,"counts":[1]}`} {
		if err := json.Unmarshal([]byte(bad), &back); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestObserveAllocates(t *testing.T) {
	var h Histogram
	h.Observe(1e-6, 1)
	h.Observe(1, 1)
	if n := testing.AllocsPerRun(1000, func() { h.Observe(0.0021, 3) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	values := draw(rand.New(rand.NewPCG(5, 6)), 1024)
	var h Histogram
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.Observe(values[i&1023], 1)
	}
}
