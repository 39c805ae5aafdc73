package aggregate

import (
	"fmt"
	"testing"
	"time"

	"tracer/internal/record"
)

// BenchmarkUnanswered compares as many conversations without an answer as there may be: one pod looks for others.
func BenchmarkUnanswered(b *testing.B) {
	x := newTalk(b, Options{})
	for i := range 3 * DefaultMaxConversations {
		x.out("10.1.0.1:40000", fmt.Sprintf("10.3.%d.%d:80", i%DefaultMaxConversations/250, i%250), record.ProtocolUDP, i)
	}
	b.ReportAllocs()
	for b.Loop() {
		x.unanswered(x.began.Add(x.clock + time.Second))
	}
}
