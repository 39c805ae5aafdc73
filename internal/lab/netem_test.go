package lab

import (
	"math"
	"strings"
	"testing"
	"time"
)

func TestPlanNetem(t *testing.T) {
	t.Parallel()
	f := Fault{Delay: 500 * time.Millisecond, Rate: 100_000, Loss: 0.1}
	q, e := planNetem(f, udp)
	if math.Abs(e.Delay-0.508) > 1e-9 || e.Loss != 0.1 {
		t.Errorf("expected %+v, want 0.508 s: the delay and a packet's own time", e)
	}
	want := []string{
		"ip netns exec n tc qdisc add dev tunl0 root handle 10: htb default 1",
		"ip netns exec n tc class add dev tunl0 parent 10: classid 10:1 htb rate 1gbit",
		"ip netns exec n tc class add dev tunl0 parent 10: classid 10:10 htb rate 100kbit",
		"ip netns exec n tc qdisc add dev tunl0 parent 10:10 handle 100: netem delay 500ms rate 100kbit loss 10.00%",
	}
	if got := q.commands("n", "tunl0"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	f.Rate = 50_000
	if _, e := planNetem(f, udp); e.Delay != 16 || e.Note == "" {
		t.Errorf("expected %+v, want 1000 packets at 62.5 a second", e)
	}
}
