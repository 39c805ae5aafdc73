package pairpath

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"tracer/internal/golden"
	"tracer/internal/journey"
)

func passed(direction journey.Direction, stage journey.Stage, device string, p50 float64) Stage {
	return Stage{Stage: stage, Device: device, Direction: direction, Packets: 100, P50: new(p50), P99: new(2 * p50), Sum: 100 * p50}
}

// twoNodes are the answers of two nodes, the overlay of the second of which holds what goes back.
func twoNodes() []Answer {
	f := fabric{offset: 3, drift: 40e-6, there: 50e-6, back: 60e-6}
	a, b := f.play(rand.New(rand.NewPCG(1, 2)), 0.1, 2e-3, 10)
	slow := passed(journey.Out, journey.Queue, "tunl0", 0.5)
	slow.Usual, slow.Lost, slow.Reason, slow.InFlight, slow.Oldest = new(2e-6), 12, "QDISC_DROP", 37, 0.6
	none := passed(journey.Out, journey.Queue, "tunl0", 0)
	none.P50, none.P99, none.NoQueue = nil, nil, true
	a[0].Crossed, b[1].Crossed = 100, 100
	a[0].Packets, a[0].Stages = 100, []Stage{passed(journey.Out, journey.Forward, "tunl0", 10e-6), none, passed(journey.Out, journey.Queue, "eth0", 3e-6)}
	b[0].Packets, b[0].Stages = 100, []Stage{passed(journey.In, journey.Decap, "tunl0", 5e-6), passed(journey.In, journey.Forward, "pod", 8e-6)}
	b[1].Packets, b[1].Stages = 112, []Stage{passed(journey.Out, journey.Forward, "tunl0", 10e-6), slow, passed(journey.Out, journey.Queue, "eth0", 3e-6)}
	a[1].Packets, a[1].Stages = 100, []Stage{passed(journey.In, journey.Decap, "tunl0", 5e-6), passed(journey.In, journey.Forward, "pod", 8e-6)}
	return []Answer{
		{Node: "node-a", Half: &Half{WindowSeconds: 10, There: a[0], Back: a[1]}},
		{Node: "node-b", Half: &Half{WindowSeconds: 10, There: b[0], Back: b[1], Missed: 4}},
	}
}

var (
	onA = End{Name: "deploy/web", Nodes: []string{"node-a"}}
	onB = End{Name: "deploy/api", Nodes: []string{"node-b"}}
)

// TestText draws paths: over two nodes, on one, with a node that does not answer, and without a packet.
func TestText(t *testing.T) {
	t.Parallel()
	local := []Answer{{Node: "node-a", Half: &Half{
		WindowSeconds: 10,
		There:         Way{Packets: 100, Stages: []Stage{passed(journey.Local, journey.Forward, "pod", 9e-6)}},
		Back:          Way{Packets: 100, Stages: []Stage{passed(journey.Local, journey.Forward, "pod", 8e-6)}},
	}}}
	dead := twoNodes()
	dead[1] = Answer{Node: "node-b", Err: errors.New("no answer within 20s")}
	for name, test := range map[string]struct {
		src, dst End
		answers  []Answer
		code     int
	}{
		"two-nodes": {onA, onB, twoNodes(), 0},
		"one-node":  {onA, End{Name: "10.244.1.8", Nodes: []string{"node-a"}}, local, 0},
		"no-answer": {onA, onB, dead, 0},
		"outside":   {onA, End{Name: "192.0.2.1"}, twoNodes()[:1], 0},
		"unknown":   {onA, End{Name: "192.168.0.2", Unknown: true}, twoNodes()[:1], 0},
		"on-host":   {End{Name: "ds/node-exporter", Nodes: []string{"node-a"}, OnHost: []string{"node-a"}}, onB, twoNodes(), 0},
		"hairpin":   {onA, End{Name: "svc/web", Nodes: []string{"node-a"}}, twoNodes()[:1], 0},
		"no-packet": {onA, onB, []Answer{{Node: "node-a", Half: &Half{WindowSeconds: 10}}, {Node: "node-b", Half: &Half{WindowSeconds: 10}}}, 3},
		"nobody":    {onA, onB, []Answer{{Node: "node-a", Err: errors.New("its pod is pending")}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := Join(test.src, test.dst, test.answers)
			if p.ExitCode() != test.code {
				t.Errorf("exit code %d, want %d", p.ExitCode(), test.code)
			}
			var text bytes.Buffer
			if err := p.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			golden.Check(t, "testdata/"+name+".txt", text.Bytes())
		})
	}
}

// TestWholeWay has each hop once, there and back, with the wire between the nodes.
func TestWholeWay(t *testing.T) {
	t.Parallel()
	p := Join(onA, onB, twoNodes())
	var hops []string
	var shares float64
	for _, h := range p.Hops {
		hops = append(hops, strings.Join([]string{h.Way, h.Node, string(h.Stage), h.Device}, " "))
		shares += h.Share
	}
	want := []string{
		"there node-a forward tunl0", "there node-a queue tunl0", "there node-a queue eth0",
		"there node-a → node-b wire ", "there node-b decap tunl0", "there node-b forward pod",
		"back node-b forward tunl0", "back node-b queue tunl0", "back node-b queue eth0",
		"back node-b → node-a wire ", "back node-a decap tunl0", "back node-a forward pod",
	}
	if strings.Join(hops, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s", strings.Join(hops, "\n"))
	}
	if shares < 1.999 || shares > 2.001 {
		t.Errorf("shares add up to %v for two ways", shares)
	}
	if w := p.Wire; w == nil || w.From != "node-a" || w.To != "node-b" || w.Joined != w.Followed {
		t.Errorf("%+v", w)
	}
	if !strings.Contains(p.Summary, "12 packets were lost on the way back in queue tunl0 on node-b") || !strings.Contains(p.Summary, "100 % of the time back is spent in queue tunl0 on node-b") {
		t.Error(p.Summary)
	}
}

// TestShares has most packets stay on a node and a few go to another, where a stage takes ten times as long: the time of all together counts.
func TestShares(t *testing.T) {
	t.Parallel()
	f := fabric{offset: 3, there: 50e-6, back: 50e-6}
	a, b := f.play(rand.New(rand.NewPCG(1, 2)), 0.1, 2e-3, 10)
	few := func(direction journey.Direction, device string, p50 float64) Stage {
		s := passed(direction, journey.Forward, device, p50)
		s.Packets, s.Sum = 10, 10*p50
		return s
	}
	many := passed(journey.Local, journey.Forward, "pod", 90e-6)
	many.Packets, many.Sum = 990, 990*90e-6
	a[0].Stages, a[0].Crossed = []Stage{many, few(journey.Out, "eth0", 50e-6)}, 10
	b[0].Stages = []Stage{few(journey.In, "pod", 900e-6)}
	a[0].Packets, b[0].Packets = 1000, 10
	p := Join(onA, onB, []Answer{{Node: "node-a", Half: &Half{There: a[0], Back: a[1]}}, {Node: "node-b", Half: &Half{There: b[0], Back: b[1]}}})
	all := 990*90e-6 + 10*50e-6 + 10*50e-6 + 10*900e-6
	for i, want := range []float64{990 * 90e-6 / all, 10 * 50e-6 / all, 10 * 50e-6 / all, 10 * 900e-6 / all} {
		if h := p.Hops[i]; math.Abs(h.Share-want) > 0.001 {
			t.Errorf("%s on %s: %v, want %v", h.Stage, h.Node, h.Share, want)
		}
	}
	if want := "90 % of the time there is spent in forward pod on node-a: 90µs"; p.Summary != want {
		t.Errorf("%s, want %s", p.Summary, want)
	}
}
