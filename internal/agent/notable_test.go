package agent

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/record"
)

// TestNotable keeps the slowest and one of each kind of loss, and refuses all.
func TestNotable(t *testing.T) {
	t.Parallel()
	var n notable
	for i := range 100 {
		r := record.Record{Kind: record.Finished, Len: 2, Time: time.Duration(i*37%100) * time.Millisecond}
		if n.consider(&r) {
			t.Fatal("a record was taken")
		}
		n.consider(&record.Record{Kind: record.Dropped, Reason: string(rune('A' + i%3)), Location: "f"})
	}
	early := n.take()
	if len(early.slow) != maxSlowest || early.slow[0].took != 99*time.Millisecond || early.slow[4].took != 95*time.Millisecond || len(early.lost) != 3 {
		t.Errorf("%d, %d", len(early.slow), len(early.lost))
	}
	n.consider(&record.Record{Kind: record.Finished, Len: 1, Time: time.Second})
	n.consider(&record.Record{Kind: record.Dropped, Reason: "D"})
	both := early.and(n.take())
	if len(both.slow) != maxSlowest || both.slow[0].took != time.Second || len(both.lost) != 4 || len(early.slow) != maxSlowest {
		t.Errorf("%d, %d", len(both.slow), len(both.lost))
	}
}

// TestLossesAmongNoise: what was freed without being a loss takes no loss's place, and of losses there are at most as many as described.
func TestLossesAmongNoise(t *testing.T) {
	t.Parallel()
	var n notable
	drop := func(reason, location string) {
		n.consider(&record.Record{Kind: record.Dropped, Reason: reason, Location: location})
	}
	for i := range 20 {
		drop("SOCKET_CLOSE", fmt.Sprint("f", i))
	}
	early := n.take()
	for i := range 20 {
		drop("TCP_OLD_ACK", fmt.Sprint("f", i))
	}
	drop("NETFILTER_DROP", "nf_hook_slow")
	var nobody names
	if _, lost := early.and(n.take()).traces(nil, nobody); len(lost) != 1 || lost[0].Drop.Reason != "NETFILTER_DROP" {
		t.Errorf("%+v", lost)
	}
	for i := range 100 {
		drop("QDISC_DROP", fmt.Sprint("f", i))
	}
	kept := n.take()
	if _, lost := kept.traces(nil, nobody); len(lost) != maxLost || len(kept.lost) != maxDropped {
		t.Errorf("%d of %d", len(lost), len(kept.lost))
	}
}
