package journey

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// node is a node's devices: two pods, overlays, a bond over eth0, a bridge.
var node = []netdev.Device{
	{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 2, Name: "cali2", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 3, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 4, Name: "slow0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{
		Kind: "htb", Children: []netdev.Qdisc{{Kind: "htb", Class: true, Children: []netdev.Qdisc{{Kind: "netem"}}}}}},
	{Index: 5, Name: "tbf0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "tbf"}},
	{Index: 6, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "fq_codel"}},
	{Index: 7, Name: "bond0", Role: netdev.RoleUplink, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 8, Name: "cni0", Role: netdev.RoleBridge, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
	{Index: 10, Name: "shaped1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"},
		PodEnd: &netdev.PodEnd{Name: "net1", Root: netdev.Qdisc{Kind: "tbf"}}},
	{Index: 9, Name: "down0", Role: netdev.RoleUplink, Leaves: true, Root: netdev.Qdisc{Kind: "fq_codel"}},
	{Index: 11, Name: "ifb0", Role: netdev.RoleIFB, Up: true, Root: netdev.Qdisc{Kind: "tbf"}},
}

var hooks = map[string]record.Hook{
	"I": record.Ingress, "E": record.Egress, "D": record.Dequeue, "X": record.Xmit, "F": record.Free, "S": record.Socket, "P": record.PodQueue,
}

// rec makes a record of hops as "I cali1 0" (hook, device, microseconds since the first), with "/2" behind the last
// that of a packet split after two.
func rec(t testing.TB, kind record.Kind, hops string) *record.Record {
	t.Helper()
	r := &record.Record{Kind: kind, Attributed: true, Weight: 1, Segments: 1}
	hops, splitAt, _ := strings.Cut(hops, "/")
	if splitAt != "" {
		r.SplitAt = int(splitAt[0] - '0')
	}
	for hop := range strings.SplitSeq(hops, ",") {
		var hook, name string
		var micros int
		if _, err := fmt.Sscan(hop, &hook, &name, &micros); err != nil {
			t.Fatalf("%q: %v", hop, err)
		}
		index := 99
		for _, d := range node {
			if d.Name == name {
				index = d.Index
			}
		}
		r.Time = time.Hour + time.Duration(micros)*time.Microsecond
		r.Hops[r.Len] = record.Hop{Hook: hooks[hook], Ifindex: index, Time: r.Time}
		r.Len++
	}
	return r
}

// String is a path as the tests write it: "forward tunl0 10, queue eth0 4 noqueue | queue eth0 3".
func (p *Path) String() string {
	one := func(s Step) string {
		name := "-"
		if s.Device != nil {
			name = s.Device.Name
		}
		text := fmt.Sprintf("%s %s %d", s.Stage, name, s.Delay.Microseconds())
		if s.NoQueue {
			text += " noqueue"
		}
		if s.Untimed {
			text += " untimed"
		}
		return text
	}
	var steps []string
	for i, s := range p.Steps() {
		text := one(s)
		if i < p.StepsBeforeSplit {
			text += " shared"
		}
		steps = append(steps, text)
	}
	text := fmt.Sprintf("%s %d: %s", p.Direction, p.Total.Microseconds(), strings.Join(steps, ", "))
	if p.Where.Stage != "" {
		text += " | " + one(p.Where)
	}
	return text
}

func TestPathOf(t *testing.T) {
	t.Parallel()
	devices := NewDevices(node)
	for _, test := range []struct {
		name string
		kind record.Kind
		hops string
		want string
	}{
		{"out through a tunnel", record.Finished,
			"I cali1 0, E tunl0 10, X tunl0 12, E eth0 20, X eth0 24",
			"out 24: forward tunl0 10, queue tunl0 2 noqueue, encap tunl0 8, queue eth0 4"},
		{"out through a slow tunnel", record.Finished,
			"I cali1 0, E slow0 10, D slow0 501010, X slow0 501012, E eth0 501020, D eth0 501021, D eth0 501022, X eth0 501024",
			"out 501024: forward slow0 10, queue slow0 501002, encap slow0 8, queue eth0 4"},
		{"in through a tunnel", record.Finished,
			"I eth0 0, I tunl0 5, E cali2 12, X cali2 13",
			"in 13: decap tunl0 5, forward cali2 7, queue cali2 1 noqueue"},
		{"to the node itself", record.Finished, "I eth0 0, I tunl0 5", "in 5: decap tunl0 5"},
		{"pod to pod", record.Finished, "I cali1 0, E cali2 9, X cali2 10", "local 10: forward cali2 9, queue cali2 1 noqueue"},
		{"of the node itself", record.Finished, "E eth0 0, X eth0 3", "out 3: queue eth0 3"},
		{"through a bond", record.Finished,
			"I cali1 0, E bond0 10, X bond0 11, E eth0 13, X eth0 15",
			"out 15: forward bond0 10, queue bond0 1 noqueue, encap bond0 2, queue eth0 2"},
		{"through a bridge, in", record.Finished,
			"I eth0 0, I tunl0 3, E cni0 5, X cni0 6, E cali1 8, X cali1 9",
			"in 9: decap tunl0 3, forward cni0 2, queue cni0 1 noqueue, forward cali1 2, queue cali1 1 noqueue"},
		{"through a bridge, out", record.Finished,
			"I cali1 0, I cni0 2, E tunl0 5, X tunl0 6, E eth0 8, X eth0 9",
			"out 9: forward cni0 2, forward tunl0 3, queue tunl0 1 noqueue, encap tunl0 2, queue eth0 1"},
		{"xmit not seen", record.Finished, "I cali1 0, E slow0 5, E eth0 9, X eth0 10",
			"out 10: forward slow0 5, unknown eth0 4 untimed, queue eth0 1"},
		{"driver busy", record.Finished, "E eth0 0, X eth0 2, D eth0 5, X eth0 6", "out 6: queue eth0 6"},

		{"out of a pod's own queue", record.Finished, "P cali1 0, I cali1 50, E tunl0 60, X tunl0 61, E eth0 62, X eth0 63",
			"out 63: pod-queue pod:eth0 50, forward tunl0 10, queue tunl0 1 noqueue, encap tunl0 1, queue eth0 1"},
		{"out of a pod's own queue to another pod", record.Finished, "P cali1 0, I cali1 50, E cali2 60, X cali2 61",
			"local 61: pod-queue pod:eth0 50, forward cali2 10, queue cali2 1 noqueue"},
		{"in flight in a pod's own queue", record.InFlight, "P cali1 0", "out 0:  | pod-queue pod:eth0 0"},

		{"split after a dequeue", record.Split, "I cali1 0, E eth0 5, D eth0 9, F eth0 11",
			"out 11: forward eth0 5, queue eth0 4, unknown eth0 2 untimed"},
		{"split past an empty qdisc", record.Split, "I cali1 0, E eth0 5, F eth0 9", "out 9: forward eth0 5, queue eth0 4"},
		{"split without a qdisc", record.Split, "I cali1 0, E tunl0 5, F tunl0 9",
			"out 9: forward tunl0 5, queue tunl0 4 noqueue"},
		{"split at enqueue", record.Split, "I cali1 0, E tbf0 5, F tbf0 9", "out 9: forward tbf0 5, queue tbf0 4 untimed"},

		{"split at enqueue, going on", record.Split, "I cali1 0, E tbf0 5, F tbf0 9/2",
			"out 9: forward tbf0 5, unknown tbf0 4 untimed"},
		{"a segment of that", record.Finished, "I cali1 0, E tbf0 5, D tbf0 105, X tbf0 107, E eth0 110, X eth0 111/2",
			"out 111: forward tbf0 5 shared, queue tbf0 102, encap tbf0 3, queue eth0 1"},
		{"a segment of the node's own", record.Finished, "E tbf0 0, D tbf0 105, X tbf0 107, E eth0 110, X eth0 111/1",
			"out 111: queue tbf0 107, encap tbf0 3, queue eth0 1"},
		{"a segment that waits", record.InFlight, "I cali1 0, E tbf0 5/2", "out 5: forward tbf0 5 shared | queue tbf0 0"},

		{"limited at an ifb", record.Finished, "I cali1 0, E ifb0 1, D ifb0 31, X ifb0 32, E eth0 40, X eth0 41",
			"out 41: unknown ifb0 1 untimed, queue ifb0 31, forward eth0 8, queue eth0 1"},
		{"limited at an ifb, not seen before", record.Finished, "E ifb0 1, D ifb0 31, X ifb0 32, E cali2 40, X cali2 41",
			"local 40: queue ifb0 31, forward cali2 8, queue cali2 1 noqueue"},
		{"in flight in an ifb", record.InFlight, "I cali1 0, E ifb0 5", "out 5: unknown ifb0 5 untimed | queue ifb0 0"},
		{"to a pod past its device", record.Finished, "I eth0 0, I tunl0 1, S cali1 5", "in 5: decap tunl0 1, forward cali1 4"},
		{"between pods of this node, past their devices", record.Finished, "I cali1 0", "local 0: "},

		{"in flight in a queue", record.InFlight, "I cali1 0, E slow0 5", "out 5: forward slow0 5 | queue slow0 0"},
		{"in flight behind a dequeue", record.InFlight, "I cali1 0, E slow0 5, D slow0 25",
			"out 25: forward slow0 5 | queue slow0 20"},
		{"in flight without a queue", record.InFlight, "I cali1 0, E tunl0 5", "out 5: forward tunl0 5 | unknown tunl0 0"},
		{"in flight in the tunnel", record.InFlight, "I cali1 0, E tunl0 5, X tunl0 6",
			"out 6: forward tunl0 5, queue tunl0 1 noqueue | encap tunl0 0"},
		{"in flight behind an ingress", record.InFlight, "I eth0 0", "in 0:  | forward eth0 0"},
		{"in flight and delivered", record.InFlight, "I eth0 0, I tunl0 1, E cali1 2, X cali1 3",
			"in 3: decap tunl0 1, forward cali1 1, queue cali1 1 noqueue | deliver cali1 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			p, err := PathOf(rec(t, test.kind, test.hops), devices)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.String(); got != test.want {
				t.Errorf("\n got %s\nwant %s", got, test.want)
			}
		})
	}
}

// TestUnseenQueues has packets wait where no egress hook sees them come: what was between the hooks beside is not known to be a stage
// without a queue.
func TestUnseenQueues(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, unseen, hops, want, seen string // seen: what it is where the hook is there, if that is something else
	}{
		{"a pod's limit", "cali1", "I eth0 0, I tunl0 1, S cali1 5", "in 5: decap tunl0 1, unknown cali1 4 untimed", "in 5: decap tunl0 1, forward cali1 4"},
		{"another pod's", "cali2", "I eth0 0, I tunl0 1, S cali1 5", "in 5: decap tunl0 1, forward cali1 4", ""},
		{"an overlay", "tbf0", "I cali1 0, E eth0 50, X eth0 51", "out 51: unknown eth0 50 untimed, queue eth0 1", "out 51: forward eth0 50, queue eth0 1"},
		{"a bond under an overlay", "bond0", "I cali1 0, E tunl0 9, X tunl0 10, E eth0 50, X eth0 51",
			"out 51: forward tunl0 9, queue tunl0 1 noqueue, unknown eth0 40 untimed, queue eth0 1",
			"out 51: forward tunl0 9, queue tunl0 1 noqueue, encap tunl0 40, queue eth0 1"},
		{"a pod's limit, before its hook", "cali1", "I eth0 0, I tunl0 1, E cali1 5, X cali1 6", "in 6: decap tunl0 1, forward cali1 4, queue cali1 1 noqueue", ""},
		{"an ifb that a pod sends through", "ifb0", "I cali1 0, E tunl0 50, X tunl0 51, E eth0 60, X eth0 61",
			"out 61: unknown tunl0 50 untimed, queue tunl0 1 noqueue, encap tunl0 9, queue eth0 1",
			"out 61: forward tunl0 50, queue tunl0 1 noqueue, encap tunl0 9, queue eth0 1"},
		{"an ifb, to a pod of the same node", "ifb0", "I cali1 0, S cali2 50", "local 50: unknown cali2 50 untimed", "local 50: forward cali2 50"},
		{"another pod's ifb", "ifb0", "I cali2 0, E tunl0 50, X tunl0 51", "out 51: forward tunl0 50, queue tunl0 1 noqueue", ""},
		{"the uplink", "eth0", "I cali1 0, E tunl0 9, X tunl0 10", "out 10: forward tunl0 9, queue tunl0 1 noqueue", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			for unseen, want := range map[bool]string{true: test.want, false: cmp.Or(test.seen, test.want)} {
				devices := slices.Clone(node)
				for i := range devices {
					d := &devices[i]
					d.EgressUnseen = unseen && d.Name == test.unseen
					switch d.Name {
					case "bond0":
						d.Lower = []int{6}
					case "ifb0":
						d.RedirectedFrom = []int{1}
					}
				}
				p, err := PathOf(rec(t, record.Finished, test.hops), NewDevices(devices))
				if err != nil {
					t.Fatal(err)
				}
				if got := p.String(); got != want {
					t.Errorf("unseen %t:\n got %s\nwant %s", unseen, got, want)
				}
			}
		})
	}
}

func TestSkippedHooks(t *testing.T) {
	t.Parallel()
	r := rec(t, record.Finished,
		"I cali1 0, I cni0 1, E slow0 2, D slow0 3, X slow0 4, E bond0 5, E eth0 50, X eth0 52")
	r.Skipped = 3
	p, err := PathOf(r, NewDevices(node))
	if err != nil {
		t.Fatal(err)
	}
	want := "out 52: forward cni0 1, forward slow0 1, queue slow0 2, encap slow0 1, unknown - 45 untimed, queue eth0 2"
	if got := p.String(); got != want {
		t.Errorf("\n got %s\nwant %s", got, want)
	}
}

func TestErrors(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kind record.Kind
		hops string
		want error
	}{
		{record.Finished, "I cali1 5, E eth0 3, X eth0 6", errOrder},
		{record.Finished, "I cali1 0, E slow0 3, X eth0 6", errOrder},
		{record.Finished, "I cali1 0, E slow0 3, D eth0 6", errOrder},
		{record.Finished, "E eth0 0, X eth0 3, E eth0 6", errOrder},
		{record.Finished, "I cali1 0, F cali1 3, E eth0 6", errOrder},
		{record.Finished, "I eth0 0, I tunl0 4, I eth0 122000, I tunl0 122004, E cali1 122006, X cali1 122007", errTwo},
		{record.Finished, "I eth0 0, I cali1 7, E eth0 9, X eth0 10", nil}, // a pod routes what came in past its device
		{record.Finished, "P shaped1 0, I shaped1 4, E eth0 8, X eth0 9", nil},
		{record.InFlight, "I eth0 0, I tunl0 4, I eth0 122000, I tunl0 122004", errTwo},
		{record.Dropped, "I eth0 0, I tunl0 4, I eth0 122000, F eth0 122004", nil},
		{record.Finished, "I eth0 0, E ifb0 1, X ifb0 3, I eth0 5, I tunl0 6, E cali1 8, X cali1 9", nil},
		{record.Finished, "I cali1 0, E gone0 3, X gone0 6", ErrDevice},
		{record.Finished, "I gone0 0, E eth0 3, X eth0 6", ErrDevice},
		{record.Split, "I cali1 0, E eth0 5, F eth0 4", errOrder},
		{record.Dropped, "F eth0 4", errNoHops},
	} {
		if p, err := PathOf(rec(t, test.kind, test.hops), NewDevices(node)); !errors.Is(err, test.want) {
			t.Errorf("%s: %s, %v; want %v", test.hops, p.String(), err, test.want)
		}
	}
	if _, err := PathOf(&record.Record{Kind: record.Finished}, NewDevices(node)); !errors.Is(err, errNoHops) {
		t.Errorf("no hops: %v", err)
	}
}

// TestInFlightWhileScanned checks that a hook that runs while the table is read does no harm.
func TestInFlightWhileScanned(t *testing.T) {
	t.Parallel()
	r := rec(t, record.InFlight, "I cali1 0, E slow0 5")
	r.Time -= 2 * time.Microsecond
	if p, err := PathOf(r, NewDevices(node)); err != nil || p.Where.Delay != 0 || p.Total != 5*time.Microsecond {
		t.Errorf("%s, %v", p.String(), err)
	}
}

// TestSum checks of random records, sane or not, that the stages' sum is the total wherever there is a path.
func TestSum(t *testing.T) {
	t.Parallel()
	devices := NewDevices(node)
	r := rand.New(rand.NewPCG(7, 8))
	paths := 0
	for range 200_000 {
		rec := &record.Record{Kind: record.Kind(1 + r.IntN(4)), Len: r.IntN(record.MaxHops + 1), Attributed: true}
		now := time.Hour
		for i := range rec.Len {
			now += time.Duration(r.IntN(1000))
			rec.Hops[i] = record.Hop{Hook: record.Hook(1 + r.IntN(4)), Ifindex: 1 + r.IntN(len(node)), Time: now}
			if i > 0 && r.IntN(2) == 0 {
				rec.Hops[i].Ifindex = rec.Hops[i-1].Ifindex
			}
		}
		if rec.Len == record.MaxHops {
			rec.Skipped = r.IntN(3)
		}
		rec.Time = now + time.Duration(r.IntN(1000))
		p, err := PathOf(rec, devices)
		if err != nil {
			continue
		}
		paths++
		sum := p.Where.Delay
		for _, s := range p.Steps() {
			sum += s.Delay
		}
		if sum != p.Total || sum < 0 {
			t.Fatalf("%+v: the sum is %v, the total %v", rec, sum, p.Total)
		}
	}
	if paths < 1000 {
		t.Errorf("only %d of the records made a path", paths)
	}
}

func TestPathOfAllocates(t *testing.T) {
	devices := NewDevices(node)
	r := rec(t, record.Finished, "I cali1 0, E slow0 10, D slow0 11, X slow0 12, E eth0 20, D eth0 22, X eth0 24")
	if n := testing.AllocsPerRun(1000, func() {
		if _, err := PathOf(r, devices); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPathOf(b *testing.B) {
	devices := NewDevices(node)
	r := rec(b, record.Finished, "I cali1 0, E tunl0 10, X tunl0 12, E eth0 20, X eth0 24")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := PathOf(r, devices); err != nil {
			b.Fatal(err)
		}
	}
}
