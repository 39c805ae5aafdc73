package aggregate

import (
	"fmt"
	"net/netip"
	"testing"

	"tracer/internal/journey"
	"tracer/internal/record"
)

// TestBareAnswers counts answers to clients of a Service that come with the server's own address and meet no socket, and nothing
// else that does.
func TestBareAnswers(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name           string
		asked, reason  string
		location, from string // whom the answer comes from, as the client sees it
		want           uint64
	}{
		{name: "bridged past netfilter", asked: "10.9.0.1:80", reason: "NO_SOCKET", location: "tcp_v4_rcv", from: "10.1.0.2:80", want: 4},
		{name: "without a reason", asked: "10.9.0.1:80", location: "tcp_v4_rcv", from: "10.1.0.2:80", want: 4},
		{name: "translated back, after the client closed", asked: "10.9.0.1:80", reason: "NO_SOCKET", location: "tcp_v4_rcv", from: "10.9.0.1:80"},
		{name: "asked without a Service", asked: "10.1.0.2:80", reason: "NO_SOCKET", location: "tcp_v4_rcv", from: "10.1.0.2:80"},
		{name: "dealt with otherwise", asked: "10.9.0.1:80", reason: "TCP_CLOSE", location: "tcp_v4_do_rcv", from: "10.1.0.2:80"},
	} {
		x := newTalk(t, Options{})
		for i := range 4 {
			client := fmt.Sprint("10.1.0.1:", 40000+i)
			x.add(newRecord(record.Finished, flowOf(client, test.asked), flowOf(client, "10.1.0.2:80"),
				hop(record.Ingress, 1, 0), hop(record.Egress, 2, 0), hop(record.Xmit, 2, 0)), tcp, 1000*i)
			answer := newRecord(record.Dropped, flowOf("10.1.0.2:80", client), flowOf(test.from, client),
				hop(record.Ingress, 2, 0), hop(record.Egress, 1, 0), hop(record.Xmit, 1, 0), hop(record.Free, 1, 0))
			answer.Reason, answer.Location = test.reason, test.location
			x.add(answer, tcp, 1000*i+1)
		}
		var got BareAnswers
		for _, p := range x.Snapshot().Pairs {
			if p.Direction == journey.Local && p.BareAnswers.Packets > 0 {
				got = p.BareAnswers
			}
		}
		if got.Packets != test.want || test.want > 0 && (got.Seconds != 4 || got.Asked != netip.MustParseAddrPort("10.9.0.1:80") || got.Server != netip.MustParseAddrPort("10.1.0.2:80")) {
			t.Errorf("%s: %+v", test.name, got)
		}
	}
}
