package pair

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tracer/internal/pairpath"
	"tracer/test/steady"
)

// clients are the addresses of the pods on node1: the one that asks, and the one that sends in bulk.
var clients = []netip.Addr{netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.1.3")}

// halves has both nodes' agents watch the packets between the pods that ask and answer for a window, as kubectl tracer path does.
func (r *rig) halves(window time.Duration) []pairpath.Answer {
	r.Helper()
	q := pairpath.Query{Src: clients, Dst: []netip.Addr{netip.MustParseAddr(api)}, Window: window}
	// An agent takes the end of what it is asked for that of who asks: a pipe that is open for writing too has none. What it says is long for
	// a serial line.
	script := fmt.Sprintf(`rm -f /tmp/ask; mkfifo /tmp/ask
{ printf 'GET /v1/path?%s HTTP/1.0\r\n\r\n' >&3; tracer connect <&3 | gzip | base64; } 3<>/tmp/ask`, strings.ReplaceAll(q.Values().Encode(), "%", "%%"))
	answers := make([]pairpath.Answer, 2)
	r.both(func(m *machine) error {
		i := 0
		if m == r.node2 {
			i = 1
		}
		half, err := r.half(m, script)
		if err != nil {
			return fmt.Errorf("%s: ask the agent for a path: %w", m.name, err)
		}
		answers[i] = pairpath.Answer{Node: m.name, Half: half}
		return nil
	})
	return answers
}

func (r *rig) half(m *machine, script string) (*pairpath.Half, error) {
	said, err := m.run(r.Context(), script)
	if err != nil {
		return nil, err
	}
	packed, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(said), ""))
	if err != nil {
		return nil, fmt.Errorf("%w: %.500s", err, said)
	}
	plain, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(plain)
	if err != nil {
		return nil, err
	}
	head, body, found := bytes.Cut(text, []byte("\r\n\r\n"))
	if !found || !bytes.Contains(head, []byte(http.StatusText(http.StatusOK))) {
		return nil, fmt.Errorf("it says %.500q", text)
	}
	half := &pairpath.Half{}
	return half, json.Unmarshal(body, half)
}

// join makes one path of both, and logs it.
func (r *rig) join(answers []pairpath.Answer) pairpath.Path {
	r.Helper()
	end := func(name, node string) pairpath.End { return pairpath.End{Name: name, Nodes: []string{node}} }
	p := pairpath.Join(end("web", "node1"), end("api", "node2"), slices.Clone(answers))
	var text strings.Builder
	if err := p.WriteText(&text); err != nil {
		r.Fatal(err)
	}
	r.Log(text.String())
	return p
}

// asked asks for something that the nodes' clocks say, again while this machine does not keep up. It says what is wrong with it.
func (r *rig) asked(what func() (wrong string)) {
	r.Helper()
	steady.Repeat(r, what)
}

// wire is what is between the nodes, of small packets, of which nearly all must be joined; and the least time that one of them and one that
// went back soon took together.
func (r *rig) wire() (w *pairpath.Wire, least float64, wrong string) {
	r.Helper()
	answers := r.halves(window)
	p := r.join(answers)
	switch w = p.Wire; {
	case w == nil || w.RoundTrip == nil || w.Uncertainty == nil:
		return w, 0, "nothing is known of the wire"
	case w.From != "node1" || w.To != "node2":
		return w, 0, "the wire is from " + w.From + " to " + w.To
	case w.Followed < 200 || float64(w.Joined) < 0.95*float64(w.Followed):
		return w, 0, fmt.Sprintf("%d of %d packets are joined (%d were merged), want 95 %%", w.Joined, w.Followed, w.Merged)
	}
	a, b := answers[0].Half, answers[1].Half
	least = math.Inf(1)
	for _, out := range transits(&a.There, &b.There) {
		for _, home := range transits(&b.Back, &a.Back) {
			if apart := home.came - out.left; apart > -soon && apart < soon {
				least = min(least, (out.took() + home.took()).Seconds())
			}
		}
	}
	return w, least, ""
}

// soon is so short that the nodes' clocks drift by 10 µs.
const soon = 100 * time.Millisecond

// transit is a packet by the clocks of the node that it left and of that where it came.
type transit struct{ left, came time.Duration }

func (t transit) took() time.Duration { return t.came - t.left }

// transits are the packets that were seen once on both nodes.
func transits(from, to *pairpath.Way) (all []transit) {
	left, came := map[uint64][]time.Duration{}, map[uint64]int{}
	for _, c := range from.Left {
		left[c.Packet] = append(left[c.Packet], time.Duration(c.At))
	}
	for _, c := range to.Came {
		came[c.Packet]++
	}
	for _, c := range to.Came {
		if l := left[c.Packet]; len(l) == 1 && came[c.Packet] == 1 {
			all = append(all, transit{l[0], time.Duration(c.At)})
		}
	}
	return all
}

// path has the router hold packets there for a time that the nodes, whose clocks are apart and drift, measure: out and back together, to a
// tenth; and each way, within what is said to be its uncertainty. What the wire takes by itself is measured first. A queue lets nothing out
// early, but an emulated machine may be late, and is so more or less from one minute to the next: so the least times are compared.
func path(r *rig) {
	const delay = 5e-3
	r.asked(func() string {
		idle, idleLeast, wrong := r.wire()
		if wrong != "" {
			return "without delay: " + wrong
		}
		r.on(r.router, "tc qdisc add dev eth1 root netem delay 5ms")
		slow, slowLeast, wrong := r.wire()
		r.on(r.router, "tc qdisc del dev eth1 root")
		if wrong != "" {
			return "with delay: " + wrong
		}
		got := slowLeast - idleLeast
		r.Logf("a delay of %.2f ms is measured as %.3f ms, by half of the packets as %.3f ms and more", delay*1e3, got*1e3, (*slow.RoundTrip-*idle.RoundTrip)*1e3)
		if math.Abs(got-delay) > 0.1*delay {
			return fmt.Sprintf("a delay of %v s is measured as %v s", delay, got)
		}
		if *slow.RoundTrip < slowLeast {
			return fmt.Sprintf("half of the packets are said to take %v s out and back, and none took less than %v", *slow.RoundTrip, slowLeast)
		}
		// What each way takes by itself is not known, but that it is not less than nothing and not more than both.
		both := *slow.RoundTrip - delay + *slow.RoundTripUncertainty
		there, back, doubt := *slow.Forward, *slow.Back, *slow.Uncertainty
		if there+doubt < delay || there-doubt > delay+both || back-doubt > both {
			return fmt.Sprintf("there %v, back %v ± %v s, where a delay of %v s is there and both take %v s besides", there, back, doubt, delay, both)
		}
		if doubt > 0.75*slowLeast {
			return fmt.Sprintf("the uncertainty of %v s says nothing of %v s", doubt, slowLeast)
		}
		return ""
	})
}

// pathInBulk sends in bulk each way while the path is watched: large packets leave and come, and small ones become large on their way. What is
// joined is the same packet on both nodes, and what is not is counted by name.
func pathInBulk(r *rig) {
	r.asked(func() string {
		r.beginBulk()
		answers := r.halves(window)
		r.awaitBulk()
		p := r.join(answers)
		a, b := answers[0].Half, answers[1].Half
		r.Logf("node1: %d large left, %d merged came; node2: %d and %d", a.There.Large, len(a.Back.Merged), b.Back.Large, len(b.There.Merged))
		// The one way may be over sooner than its node is asked.
		if a.There.Large+b.Back.Large < 100 || len(a.Back.Merged)+len(b.There.Merged) < 100 {
			return "large packets were to leave and to come"
		}
		w := p.Wire
		if w == nil || w.Joined < 200 {
			return fmt.Sprintf("hardly any packet is joined: %+v", w)
		}
		// In bulk some are lost, where an emulated machine is slow to take them.
		if known := w.Joined + w.Merged; float64(known) < 0.9*float64(w.Followed) {
			return fmt.Sprintf("of %d packets %d are joined and %d merged, want 90 %%", w.Followed, w.Joined, w.Merged)
		}
		return wrongTransits(&a.There, &b.There) + wrongTransits(&b.Back, &a.Back)
	})
}

// wrongTransits says which packets with one number are two: of TCP they have one place in one flow, and all took about as long by the two
// clocks, which are apart by a constant but for their drift.
func wrongTransits(from, to *pairpath.Way) (wrong string) {
	left := map[uint64][]pairpath.Crossing{}
	for _, c := range from.Left {
		left[c.Packet] = append(left[c.Packet], c)
	}
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	joined := 0
	for _, c := range to.Came {
		if len(left[c.Packet]) != 1 {
			continue
		}
		l := left[c.Packet][0]
		if l.Flow != c.Flow || l.Seq != c.Seq {
			wrong += fmt.Sprintf("packet %#x is at %d of flow %#x and at %d of flow %#x\n", c.Packet, l.Seq, l.Flow, c.Seq, c.Flow)
		}
		joined++
		least, most = min(least, c.At-l.At), max(most, c.At-l.At)
	}
	if spread := time.Duration(most - least); joined > 0 && spread > 2*time.Second {
		wrong += fmt.Sprintf("of %d packets one took %v longer than another\n", joined, spread)
	}
	return wrong
}
