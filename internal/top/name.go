package top

import (
	"github.com/charmbracelet/x/ansi"

	"tracer/internal/aggregate"
	"tracer/internal/overview"
)

// rowName is who talks to whom, with the service in between where there is room.
func rowName(r *overview.Row, width int) string {
	src, dst := r.Src.String(), r.Dst.String()
	if r.Pairs > 0 {
		if r.Service != "" {
			return r.Service
		}
		if r.EndpointOf != "" {
			return r.EndpointOf + " (its endpoints)"
		}
		return dst + " (no Service)"
	}
	if r.Service != "" && r.Dst.Workload == aggregate.UnknownWorkload && r.Dst.Address == "" {
		dst, r = "("+r.Service+")", &overview.Row{Src: r.Src, Dst: overview.Party{Workload: "(" + r.Service + ")"}}
	}
	if r.Service != "" {
		if text := src + " → (" + r.Service + ") → " + dst; ansi.StringWidth(text) <= width {
			return text
		}
	}
	if r.EndpointOf != "" {
		if text := src + " → (endpoint of " + r.EndpointOf + ") → " + dst; ansi.StringWidth(text) <= width {
			return text
		}
	}
	for _, as := range []func(overview.Party) string{overview.Party.String, withoutNamespace, byWorkload} {
		src, dst = as(r.Src), as(r.Dst)
		if ansi.StringWidth(src)+3+ansi.StringWidth(dst) <= width {
			return src + " → " + dst
		}
	}
	half := max(4, (width-3)/2)
	if ansi.StringWidth(src) > half {
		src = ansi.Truncate(src, max(half, width-3-ansi.StringWidth(dst)), "…")
	}
	return src + " → " + dst
}

// withoutNamespace is the name alone.
func withoutNamespace(p overview.Party) string {
	p.Namespace = ""
	return p.String()
}

// byWorkload is the shortest name, but for a flow with its port.
func byWorkload(p overview.Party) string {
	if p.Pod != "" {
		p.Pod = p.Workload
	}
	return withoutNamespace(p)
}
