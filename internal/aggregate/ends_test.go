package aggregate

import (
	"testing"

	"tracer/internal/record"
)

// TestEnds has the addresses, pods and devices of a pair's last flow, and of its last lost packet.
func TestEnds(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	first := request(record.Finished)
	a.Add(&first)
	before := a.Snapshot().Pairs[0]
	if e := before.Ends; e == nil || e.Source.String() != "10.1.0.1:4000" || e.Destination.String() != "10.2.0.1:8080" || e.Src.Pod != "web-1" || e.Dst.Pod != "api-1" ||
		e.From != 1 || e.To != 4 {
		t.Fatalf("%+v", e)
	}
	if before.Dropped != nil {
		t.Errorf("lost: %+v", before.Dropped)
	}
	again := newRecord(record.Finished, flowOf("10.1.0.1:4001", "10.9.0.1:80"), flowOf("10.1.0.1:4001", "10.2.0.1:8080"), hop(record.Ingress, 1, 0), hop(record.Xmit, 4, 9))
	a.Add(&again)
	lost := newRecord(record.Dropped, flowOf("10.1.0.1:4001", "10.9.0.1:80"), flowOf("10.1.0.1:4001", "10.2.0.1:9090"), hop(record.Ingress, 1, 0), hop(record.Free, 1, 9))
	lost.Reason = "NETFILTER_DROP"
	a.Add(&lost)
	after := a.Snapshot().Pairs[0]
	if e := after.Dropped; e == nil || e.Destination.Port() != 9090 || after.Ends.Destination.Port() != 9090 {
		t.Errorf("%+v, %+v", e, after.Ends)
	}
	if before.Ends.Destination.Port() != 8080 {
		t.Errorf("what was read changed: %+v", before.Ends)
	}
}
