//go:build !nolab

package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/format"
	"tracer/internal/journey"
	"tracer/internal/lab"
)

// demoText tells the demo's story to a person. Write errors are not looked at: the story's end is the exit code.
type demoText struct {
	w     io.Writer
	color bool
	step  int
}

func newDemoText(w io.Writer, color bool) *demoText { return &demoText{w: w, color: color} }

// The styles, as ANSI SGR parameters.
const (
	styleBold = "1"
	styleDim  = "2"
	styleBad  = "1;31"
	styleGood = "32"
)

func (t *demoText) style(style, text string) string {
	if !t.color {
		return text
	}
	return "\x1b[" + style + "m" + text + "\x1b[0m"
}

func (t *demoText) line(format string, args ...any) { fmt.Fprintf(t.w, format+"\n", args...) }

// chapter begins a numbered part.
func (t *demoText) chapter(format string, args ...any) {
	t.step++
	t.line("")
	t.line("%s", t.style(styleBold, fmt.Sprintf("%d  %s", t.step, fmt.Sprintf(format, args...))))
}

func (t *demoText) title() {
	t.line("%s", t.style(styleBold, "A pod calls another pod, and it is slow. Both are healthy. Where does the time go?"))
}

func (t *demoText) lab(l *lab.Lab) {
	a, b, service := l.Node(1), l.Node(2), l.Service()
	web, _ := l.Pod(lab.Web)
	api, _ := l.Pod(lab.API)
	t.chapter("Two nodes of a cluster, in network namespaces of this machine")
	t.line("")
	t.line("     %-34s        %-34s", t.node(a), t.node(b))
	t.line("     %-34s        %-34s", "pod web "+web.Address.String(), "pod api "+api.Address.String())
	t.line("     %-34s        %-34s", web.Device, api.Device)
	t.line("     %-34s  ════  %-34s", l.OverlayDevice(), l.OverlayDevice())
	t.line("     %-34s  ────  %-34s", "eth0 "+a.Address.String(), "eth0 "+b.Address.String())
	t.line("")
	t.line("     web calls the Service %s (%s:%d), which is api, over an overlay of kind %s.", service.Name,
		service.Address, service.Port, l.Overlay())
	t.line("     api works on each call for %.0f ms.", lab.StoryLoad().Work.Seconds()*1e3)
	t.line("     Both stamp their packets with the machine's clock: what we measure can be checked.")
}

func (t *demoText) node(n lab.Node) string { return n.Name + " (" + string(n.Netns) + ")" }

func (t *demoText) healthy(l *lab.Lab, w *labWindow) {
	t.chapter("The healthy path, watched for %v", demoHealthy)
	t.path(w, nil)
	t.application(w)
	t.line("     verdict     %s", t.style(styleGood, string(w.report().Verdict)))
}

func (t *demoText) fault(f lab.ActiveFault) {
	t.chapter("Somebody puts a slow, small queue onto %s of %s", f.Device, f.Node)
	t.line("")
	for _, c := range f.Commands {
		t.line("     %s", t.style(styleBad, "$ "+c))
	}
	t.line("")
	t.line("     By that, packets should take about %s and %.0f %% should be lost.", format.Seconds(f.Expected.Delay), f.Expected.Loss*100)
	if f.Expected.Settle > demoSettle.Seconds() {
		t.line("     The queue is full after %s; so long we do not wait.", format.Seconds(f.Expected.Settle))
	}
}

func (t *demoText) faulted(l *lab.Lab, healthy, faulted *labWindow) {
	t.chapter("The faulted path beside the healthy one, watched for %v", demoFaulted)
	t.path(faulted, healthy)
	t.application(faulted)
	t.chapter("What tracer says, who was told nothing of the fault")
	t.line("")
	report := faulted.report()
	var text strings.Builder
	_ = report.WriteText(&text, t.color) // a strings.Builder takes everything
	for line := range strings.Lines(text.String()) {
		fmt.Fprint(t.w, "     ", line)
	}
}

func (t *demoText) healed(moments []callMoment) {
	t.chapter("The queue is taken away: web's calls of api, before, meanwhile and after")
	t.line("")
	t.line("     What an application's monitor calls \"remote calls\", divided: p50 of about %.0f s", momentEvery.Seconds())
	t.line("     each, timed where the pods are plugged in, and beside it by web's own clock.")
	t.calls(moments)
}

func (t *demoText) clean(l *lab.Lab) {
	t.chapter("All is taken away again: namespaces, devices, rules, programs")
	t.line("")
	t.line("     By hand: tracer lab up; tracer lab fault --delay 500ms; ip netns exec tracer-node1 tracer diagnose")
}

// application tells what web and api saw by their own clock.
func (t *demoText) application(w *labWindow) {
	request := w.seen.Request
	t.line("")
	t.line("     by the application's own clock: %s from web to api (p50), %.1f %% lost; a call takes %s",
		t.style(styleBold, format.Seconds(request.Delay.P50)), request.LossRatio*100, format.Seconds(w.seen.Calls.P50))
}

// demoRow is a stage on the way from web to api.
type demoRow struct {
	node, stage, device string
	p50, p99            string
	share               float64 // of the time on both nodes
}

// path shows each stage of the way from web to api, and the usual beside it.
func (t *demoText) path(w, usual *labWindow) {
	before := map[string]string{}
	if usual != nil {
		for _, r := range usual.rows() {
			before[r.node+r.stage+r.device] = r.p50
		}
	}
	head := fmt.Sprintf("     %-6s  %-8s  %-14s  %10s  %10s", "NODE", "STAGE", "DEVICE", "P50", "P99")
	if usual != nil {
		head += fmt.Sprintf("  %10s", "WAS")
	}
	t.line("")
	t.line("%s", t.style(styleDim, head+"  SHARE OF THE TIME"))
	for _, r := range w.rows() {
		line := fmt.Sprintf("     %-6s  %-8s  %-14s  %10s  %10s", r.node, r.stage, r.device, r.p50, r.p99)
		if usual != nil {
			line += fmt.Sprintf("  %10s", cmp.Or(before[r.node+r.stage+r.device], "-"))
		}
		line += "  " + bar(r.share, 24)
		if usual != nil && r.share > 0.5 {
			line = t.style(styleBad, line)
		}
		t.line("%s", line)
	}
}

// rows are the stages of the pair web → api in the order in which its packets meet them.
func (w *labWindow) rows() (rows []demoRow) {
	var total float64
	for i := range w.to {
		for _, s := range w.stages(i) {
			total += s.Delay.Quantile(0.5)
		}
	}
	for i, node := range w.names {
		for _, s := range w.stages(i) {
			p50 := s.Delay.Quantile(0.5)
			rows = append(rows, demoRow{node, string(s.Stage), s.Device, format.Seconds(p50), format.Seconds(s.Delay.Quantile(0.99)), p50 / total})
		}
	}
	return rows
}

// stages are those that packets from web to api met on a node, in order.
func (w *labWindow) stages(node int) []aggregate.StageDelay {
	order := []journey.Stage{journey.Decap, journey.Forward, journey.Queue, journey.Encap, journey.Deliver}
	window := w.to[node].Counts.Since(w.from[node].Counts)
	for _, p := range window.Pairs {
		if p.SrcWorkload == lab.Web && p.DstWorkload == lab.API {
			stages := slices.Clone(p.Stages)
			slices.SortFunc(stages, func(a, b aggregate.StageDelay) int {
				return slices.Index(order, a.Stage) - slices.Index(order, b.Stage)
			})
			return stages
		}
	}
	return nil
}

// bar draws a share of 1 in blocks, at least a sliver of one.
func bar(share float64, width int) string {
	const full = 8
	eighths := max(1, int(share*float64(width*full)+0.5))
	s := strings.Repeat("█", eighths/full)
	if rest := eighths % full; rest > 0 {
		s += string([]rune(" ▏▎▍▌▋▊▉")[rest])
	}
	return s
}
