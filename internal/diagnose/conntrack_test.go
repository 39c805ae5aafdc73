package diagnose

import (
	"net/netip"
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// clash has so many packets of 10,000 lost by conntrack, of which so many asked for a connection.
func clash(lost, syns uint64, change func(*aggregate.Pair)) *snapshots {
	d := aggregate.DropCount{Packets: lost, SYNs: syns, DropKey: aggregate.DropKey{
		StageKey: aggregate.StageKey{Stage: journey.Forward, Device: "cali1", Direction: journey.Out},
		Reason:   "NETFILTER_DROP", Location: "nf_hook_slow", Loss: true,
	}}
	pair := aggregate.Pair{PairKey: key("default/web", "default/api", journey.Out), Packets: 10_000, Untimed: 10_000, Drops: []aggregate.DropCount{d}}
	change(&pair)
	return &snapshots{
		from: Snapshot{Taken: noon, Stats: record.Stats{Conntrack: &record.Conntrack{}}},
		to: Snapshot{
			Taken: noon.Add(15e9), Counts: &aggregate.Snapshot{Pairs: []aggregate.Pair{pair}, Drops: pair.Drops},
			Stats: record.Stats{Conntrack: &record.Conntrack{Drop: lost, InsertFailed: lost}},
		},
	}
}

// TestConntrackInsertFailed judges SYNs by their number, and all else by its share.
func TestConntrackInsertFailed(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name       string
		lost, syns uint64
		want       Severity
	}{
		{"a handful of questions", 5, 0, ""},
		{"one question in five hundred", 20, 0, Warning},
		{"one question in fifty", 200, 0, Critical},
		{"a handful of connections", 6, 6, ""},
		{"one connection a second", 15, 15, Critical},
	} {
		r := clash(test.lost, test.syns, func(*aggregate.Pair) {}).diagnose()
		switch {
		case test.want == "" && len(r.Findings) == 0:
		case len(r.Findings) != 1 || r.Findings[0].Cause != ConntrackInsertFailed || r.Findings[0].Severity != test.want:
			t.Errorf("%s: %+v, want %q", test.name, r.Findings, test.want)
		}
	}
}

// TestConntrackInsertFailedSays for what entries clash, and whether rules dropped packets in the same place.
func TestConntrackInsertFailedSays(t *testing.T) {
	t.Parallel()
	nat := func(low, high uint16) func(*aggregate.Pair) {
		return func(p *aggregate.Pair) {
			p.SourceNAT = aggregate.SourceNAT{Address: netip.MustParseAddr("172.18.0.2"), Low: low, High: high}
		}
	}
	for want, e := range map[string]*snapshots{
		"leave as 172.18.0.2 with ports 40000 to 40007: a range of 8 ports": clash(200, 200, nat(40000, 40007)),
		"two connections got the same port at once, or none is free":        clash(200, 200, nat(1024, 65535)),
		"packets of one socket were on their way at once":                   clash(200, 0, func(*aggregate.Pair) {}),
		"insert_failed rose by 200":                                         clash(200, 0, func(*aggregate.Pair) {}),
	} {
		if said := strings.Join(e.diagnose().Findings[0].Evidence, "\n"); !strings.Contains(said, want) {
			t.Errorf("evidence %q, want %q", said, want)
		}
	}
	e := clash(400, 0, nat(40000, 40007))
	e.to.Stats.Conntrack.Drop, e.to.Stats.Conntrack.InsertFailed = 200, 200
	r := e.diagnose()
	if len(r.Findings) != 2 || r.Findings[0].Cause != ConntrackInsertFailed || r.Findings[1].Cause != PolicyDrop {
		t.Fatalf("%+v", r.Findings)
	}
	if f := r.Findings[0]; f.Drops.Packets != 200 || f.Confidence > 0.9 || !strings.Contains(strings.Join(f.Evidence, "\n"), "rules dropped others in the same place") {
		t.Errorf("beside a rule: %+v", f)
	}
}
