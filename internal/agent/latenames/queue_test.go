package latenames

import (
	"fmt"
	"testing"

	"tracer/internal/record"
)

// TestQueue pushes and pops by steps of all sizes, and compares with the order in which records came.
func TestQueue(t *testing.T) {
	t.Parallel()
	var q queue
	kinds := samples()
	pushed, popped := 0, 0
	nth := func(n int) record.Record {
		r := kinds[n%len(kinds)]
		r.SKBBytes = uint32(n)
		return r
	}
	push := func(n int) {
		for range n {
			r := nth(pushed)
			q.push(&r)
			pushed++
		}
	}
	pop := func(n int) {
		for range n {
			if got, want := *q.front(), nth(popped); got != want {
				t.Fatalf("record %d is %s, want %s", popped, fmt.Sprint(got), fmt.Sprint(want))
			}
			q.pop()
			popped++
		}
	}
	for _, step := range []int{1, 2, 3, 254, 255, 256, 257, 1000, 5000} {
		push(step)
		pop(step) // to the last
		push(2 * step)
		pop(step)
		push(step)
		q.pop() // unseen
		popped++
		pop(2*step - 1)
		if q.len != 0 || pushed != popped {
			t.Fatalf("%d left of %d pushed and %d popped", q.len, pushed, popped)
		}
	}
}

// TestQueueAllocatesNothing as long as as many records go as come.
func TestQueueAllocatesNothing(t *testing.T) {
	var q queue
	r := samples()[0]
	for range 1000 {
		q.push(&r)
	}
	if n := testing.AllocsPerRun(100, func() {
		for range batchSize {
			q.push(&r)
		}
		for range batchSize {
			q.pop()
		}
	}); n != 0 {
		t.Errorf("%v allocations for %d records", n, batchSize)
	}
}

func BenchmarkQueue(b *testing.B) {
	var q queue
	r := samples()[0]
	for range maxDelayed {
		q.push(&r)
	}
	b.ReportAllocs()
	for b.Loop() {
		q.push(&r)
		q.front()
		q.pop()
	}
}
