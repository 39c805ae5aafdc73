package pairpath

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"tracer/internal/format"
)

// WriteText writes the path for people: a line a stage, there and back.
func (p *Path) WriteText(w io.Writer) error {
	out := bufio.NewWriter(w)
	fmt.Fprintf(out, "%s (%s) → %s (%s), %s\n%s\n", p.Src.Name, p.Src.at(), p.Dst.Name, p.Dst.at(), seconds(p.WindowSeconds), p.Summary)
	for _, e := range []*End{&p.Src, &p.Dst} {
		if len(e.OnHost) > 0 {
			fmt.Fprintf(out, "%s has the address of %s (hostNetwork): all that the node itself sends and gets is taken for its packets\n", e.Name, places(e.OnHost))
		}
	}
	if len(p.Hops) > 0 {
		table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintln(table, "\nWAY\tNODE\tSTAGE\tDEVICE\tP50\tP99\tSHARE\tUSUAL\tLOST")
		for i := range p.Hops {
			h := &p.Hops[i]
			fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", h.Way, h.Node, h.Stage, dash(h.Device), h.p50(), orDash(h.P99), h.share(), orDash(h.Usual), h.lost())
		}
		if err := table.Flush(); err != nil {
			return fmt.Errorf("write path: %w", err)
		}
	}
	p.writeWires(out)
	for i := range p.Nodes {
		switch n := &p.Nodes[i]; {
		case n.Error != "":
			fmt.Fprintf(out, "\n%s: no answer: %s\n", n.Name, n.Error)
		case n.Missed > 0:
			fmt.Fprintf(out, "\n%s: %d records came too fast and are not counted\n", n.Name, n.Missed)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write path: %w", err)
	}
	return nil
}

// writeWires says what the wire's times are made of, or why there are none.
func (p *Path) writeWires(out io.Writer) {
	for i := range p.Wires {
		w := &p.Wires[i]
		fmt.Fprintf(out, "\nwire %s → %s: ", w.From, w.To)
		if w.RoundTrip == nil {
			fmt.Fprintf(out, "%d of %d packets were followed on both nodes, but none there and back within a second: without that the clocks cannot be compared\n", w.Joined, w.Followed)
			continue
		}
		fmt.Fprintf(out, "out and back %s ± %s (p99 %s), from the last hook on one node to the first on the other, by %d of %d packets, those that both nodes followed",
			seconds(*w.RoundTrip), seconds(*w.RoundTripUncertainty), seconds(*w.RoundTripP99), w.Joined, w.Followed)
		if w.Merged > 0 {
			fmt.Fprintf(out, " (at least %d more were merged where they came, by GRO)", w.Merged)
		}
		if w.Large > 0 {
			fmt.Fprintf(out, "; %d packets of several segments besides", w.Large)
		}
		if w.Uncertainty != nil {
			fmt.Fprintf(out, ";\n  each way ± %s, as the two clocks are compared by these packets alone", seconds(*w.Uncertainty))
		}
		if len(w.Hidden) > 0 {
			fmt.Fprintf(out, ";\n  packets are not followed behind %s: what it does with them and the queues below it are part of this", strings.Join(w.Hidden, ", "))
		}
		fmt.Fprintln(out)
	}
	if why := p.whyNoWire(); why != "" {
		fmt.Fprintf(out, "\nwire: not measured: %s\n", why)
	}
}

// whyNoWire says why there is none, if packets went from node to node.
func (p *Path) whyNoWire() string {
	answered := p.answered()
	if len(p.Wires) > 0 || answered == 0 || !p.crosses() {
		return ""
	}
	for _, e := range []*End{&p.Src, &p.Dst} {
		if len(e.Nodes) == 0 {
			return fmt.Sprintf("no agent was asked at %s (%s)", e.Name, e.at())
		}
	}
	switch {
	case answered > 1:
		var counts []string
		for i := range p.Nodes {
			counts = append(counts, fmt.Sprintf("%s: %d left, %d came", p.Nodes[i].Name, p.Nodes[i].Left, p.Nodes[i].Came))
		}
		return "no packet was followed on both nodes (" + strings.Join(counts, "; ") + ")"
	case len(p.Nodes) > answered:
		return "one node alone answered"
	}
	return "both ends are on " + p.Nodes[0].Name
}

// crosses tells whether any packet went from node to node.
func (p *Path) crosses() bool {
	for i := range p.Hops {
		if d := p.Hops[i].Dir; d == "out" || d == "in" {
			return true
		}
	}
	return false
}

func (e *End) at() string {
	switch {
	case len(e.Nodes) == 0 && e.Unknown:
		return "outside, or a node: your account may not list nodes"
	case len(e.Nodes) == 0:
		return "outside"
	}
	return places(e.Nodes)
}

// places names some nodes, or says how many there are.
func places(nodes []string) string {
	if len(nodes) > 3 {
		return fmt.Sprintf("%d nodes", len(nodes))
	}
	return strings.Join(nodes, ", ")
}

func (h *Hop) p50() string {
	switch {
	case h.Stage == Wired && h.P50 != nil && h.Uncertainty != nil:
		return seconds(*h.P50) + " ± " + seconds(*h.Uncertainty)
	case h.P50 == nil && h.NoQueue:
		return "no queue"
	}
	return orDash(h.P50)
}

func (h *Hop) share() string {
	if h.sum == 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*h.Share)
}

// lost is what is lost there, and what has not come out.
func (h *Hop) lost() string {
	var said []string
	if h.Drops > 0 {
		said = append(said, fmt.Sprintf("%d %s", h.Drops, h.Reason))
	}
	if h.Held > 0 {
		said = append(said, fmt.Sprintf("%.0f inside, the oldest for %s", h.Held, seconds(h.Oldest)))
	}
	if len(said) == 0 {
		return "-"
	}
	return strings.Join(said, "; ")
}

func orDash(s *float64) string {
	if s == nil {
		return "-"
	}
	return seconds(*s)
}

func seconds(s float64) string { return format.Seconds(s) }

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
