package pairpath

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"tracer/internal/format"
	"tracer/internal/trace"
)

// packetBar is how many columns a waterfall has.
const packetBar = 32

// WriteText draws each packet: a line a stage over all nodes, with its part of the time at its place.
func (p *Packets) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s (%s) → %s (%s), %s\n", p.Src.Name, p.Src.at(), p.Dst.Name, p.Dst.at(), seconds(p.WindowSeconds))
	for i := range p.Packets {
		fmt.Fprintln(out)
		p.Packets[i].write(out)
	}
	if len(p.Packets) == 0 {
		fmt.Fprintln(out, "no such packet was seen")
	} else if p.Joined == 0 && len(p.Nodes) > 1 {
		fmt.Fprintln(out, "\nno packet was seen on both nodes: of those that are shown, a node each")
	}
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.Error != "" {
			fmt.Fprintf(out, "\n%s: no answer: %s\n", n.Name, n.Error)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write packets: %w", err)
	}
	return nil
}

func (p *Packet) write(out io.Writer) {
	first, last := &p.Legs[0].Trace, &p.Legs[len(p.Legs)-1].Trace
	fmt.Fprintf(out, "%s  %s  %s %s → %s, %d bytes  %s\n", p.Way, first.Time.Local().Format("15:04:05.000000"), first.First.Protocol,
		first.First.Source, last.Last.Destination, first.Bytes.IP, seconds(p.TotalSeconds))
	if first.First.Destination != last.Last.Destination {
		fmt.Fprintf(out, "  sent to %s\n", first.First.Destination)
	}
	var passed float64
	node := ""
	line := func(at, stage, device, time string, took float64) {
		if at == node {
			at = ""
		} else {
			node = at
		}
		fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("  %-20s %-9s %-15s %18s  %s", at, stage, dash(device), time, format.Bar(passed, took, p.TotalSeconds, packetBar)), " "))
		passed += took
	}
	for i := range p.Legs {
		l := &p.Legs[i]
		if i > 0 {
			between := p.Legs[i-1].Node + " → " + l.Node
			if p.Wire == nil {
				fmt.Fprintf(out, "  %-20s %-9s %-15s %18s\n", between, Wired, "-", "not known")
			} else {
				line(between, string(Wired), "", seconds(*p.Wire)+" ± "+seconds(*p.WireUncertainty), *p.Wire)
			}
		}
		stage := func(s *trace.Stage) { line(l.Node, string(s.Stage), s.Device, s.TimeText(), s.Seconds) }
		for j := range l.Trace.Stages {
			stage(&l.Trace.Stages[j])
		}
		if l.Trace.At != nil {
			stage(l.Trace.At)
		}
		if d := l.Trace.Drop; d != nil {
			fmt.Fprintf(out, "  %s on %s\n", d, l.Node)
		}
	}
}

// ExitCode is 0, 1 if no node answered, 3 if no such packet was seen.
func (p *Packets) ExitCode() int {
	answered := 0
	for i := range p.Nodes {
		if p.Nodes[i].Error == "" {
			answered++
		}
	}
	switch {
	case answered == 0:
		return 1
	case len(p.Packets) == 0:
		return 3
	}
	return 0
}
