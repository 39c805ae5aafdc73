package overview

import (
	"slices"
	"strings"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// FindingsOf are the indexes of the findings that name the row's workloads.
func (o *Overview) FindingsOf(r *Row) []int {
	src, dst := qualified(r.Src), qualified(r.Dst)
	return o.findings(func(f *diagnose.Finding) bool {
		return slices.ContainsFunc(f.Pairs, func(p diagnose.Pair) bool {
			if r.Pairs > 0 { // a Service's row
				return r.Service != "" && p.Service != nil && *p.Service == r.Service || r.EndpointOf != "" && p.EndpointOf == r.EndpointOf ||
					r.ServiceName() == "" && p.Dst == dst
			}
			return p.Src == src && p.Dst == dst
		})
	})
}

// FindingsAt are the indexes of the findings at a device. One at pods' devices, or in pods, is at that of each pod that it
// names.
func (o *Overview) FindingsAt(d *Device) []int {
	return o.findings(func(f *diagnose.Finding) bool { return isAt(f, d) })
}

func (o *Overview) findings(is func(*diagnose.Finding) bool) (found []int) {
	for i := range o.Findings {
		if is(&o.Findings[i]) {
			found = append(found, i)
		}
	}
	return found
}

// isAt tells whether a finding is at a device.
func isAt(f *diagnose.Finding, d *Device) bool {
	if f.Device == d.Name {
		return true
	}
	if d.Role != netdev.RolePod || f.Device != netdev.PodLabel && !strings.HasPrefix(f.Device, netdev.PodLabel+":") {
		return false
	}
	named := func(text string) bool { return slices.Contains(strings.FieldsFunc(text, notOfAName), d.Name) }
	if slices.ContainsFunc(f.Evidence, named) || slices.ContainsFunc(f.Next, named) {
		return true
	}
	return d.Workload != "" && slices.ContainsFunc(f.Pairs, func(p diagnose.Pair) bool {
		return p.Dst == d.Workload || p.Src == d.Workload && !f.Cause.IsOfServer()
	})
}

// notOfAName tells of a letter that it is in no device's name.
func notOfAName(r rune) bool { return strings.ContainsRune(" ,;:()'`", r) }

// qualified is a workload as a finding names it.
func qualified(p Party) string {
	if p.Namespace == "" {
		return p.Workload
	}
	return p.Namespace + "/" + p.Workload
}

// sentences are the findings', in their order.
func sentences(r *diagnose.Report) []string {
	out := make([]string, len(r.Findings))
	for i := range r.Findings {
		out[i] = r.Findings[i].Sentence()
	}
	return out
}
