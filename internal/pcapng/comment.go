package pcapng

import (
	"cmp"
	"fmt"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/format"
	"tracer/internal/trace"
)

// made is the comment of headers that were not read.
const made = "these headers were not read from the packet but made of its record: addresses, ports, protocol and length are the packet's; " +
	"all else is not known and 0 here (TTL, DSCP and ECN, id, checksums, TCP's sequence, acknowledgement, flags and window)"

// commentsOf is what is known of a packet beside its headers.
func commentsOf(t *trace.Trace) (comments []string) {
	if d := t.Drop; d != nil {
		comments = append(comments, d.String())
	}
	var stages []string
	add := func(s *trace.Stage) {
		text := string(s.Stage)
		if s.Device != "" {
			text += " " + s.Device
		}
		switch {
		case s.NoQueue:
			text += " (no queue)"
		case s.Untimed:
			text += " (not timed)"
		}
		stages = append(stages, text+" "+format.Seconds(s.Seconds))
	}
	for i := range t.Stages {
		add(&t.Stages[i])
	}
	if t.At != nil {
		add(t.At)
	}
	comments = append(comments, fmt.Sprintf("%s on this node: %s", format.Seconds(t.TotalSeconds), strings.Join(stages, ", ")))
	between := fmt.Sprintf("%s → %s", nameOf(&t.Src), nameOf(&t.Dst))
	if t.Service != "" {
		between += " by service " + t.Service
	}
	comments = append(comments, between)
	if t.First != t.Last {
		comments = append(comments, fmt.Sprintf("NAT: %s → %s became %s → %s", t.First.Source, t.First.Destination, t.Last.Source, t.Last.Destination))
	}
	if t.Segments > 1 {
		comments = append(comments, fmt.Sprintf("a large packet that makes %d segments on the wire", t.Segments))
	}
	if t.Weight > 1 {
		comments = append(comments, fmt.Sprintf("sampled: stands for %d packets", t.Weight))
	}
	return comments
}

// nameOf is an end's pod, or else its workload, with the namespace.
func nameOf(id *aggregate.Identity) string {
	name := cmp.Or(id.Pod, id.Workload)
	if id.Namespace != "" {
		name = id.Namespace + "/" + name
	}
	return name
}

// hookText is where headers were read.
func hookText(h *trace.Header) string {
	at := cmp.Or(h.Device, "a device that is not known")
	switch h.Hook {
	case "free":
		return "the drop"
	case "dequeue":
		return at + " out of its queue"
	case "xmit":
		return at + " when its driver got the packet"
	}
	return at + " " + h.Hook
}
