package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// endpointsRules find no-endpoints, packets to Services that have none, be it that a rule of kube-proxy's rejects or drops them or
// that another policy does; and policy-drop of Services that have none on this node alone. They leave the losses to policyRules,
// which does without these pairs.
func endpointsRules(w *window) (found []Finding) {
	if !w.anyServiceIsEmpty() {
		return nil
	}
	lost := slices.DeleteFunc(slices.Clone(w.losses), func(d aggregate.DropCount) bool { return policyOf(&d) == "" })
	for _, local := range []bool{false, true} {
		found = append(found, w.explain(lost, func(at aggregate.StageKey, lost []aggregate.DropCount) lossRule {
			return w.endpointsRule(at, lost, local)
		})...)
	}
	return found
}

// endpointsRule is of what was lost at a place for want of endpoints, anywhere or on this node.
func (w *window) endpointsRule(at aggregate.StageKey, lost []aggregate.DropCount, local bool) lossRule {
	r := lossRule{
		cause: NoEndpoints, threshold: policyThreshold, certainty: 1, anybody: true,
		only: func(h *hit) bool {
			service, here := w.emptyService(at, h)
			return service != "" && here == local
		},
	}
	var hits []hit
	var services []string
	for _, h := range w.hits(lost) {
		if !r.only(&h) {
			continue
		}
		hits = append(hits, h)
		service, _ := w.emptyService(at, &h)
		if !slices.Contains(services, service) {
			services = append(services, service)
		}
	}
	if len(hits) == 0 {
		return r
	}
	r.subject = "service " + services[0] + ", which has no ready endpoints,"
	for _, h := range hits {
		if e, known := w.to.Services[h.Service]; known {
			r.evidence = append(r.evidence, fmt.Sprintf("service %s has %d ready endpoints, by its EndpointSlices", h.Service, e.Ready))
			break
		}
	}
	blame := w.blameAt(at, hits)
	namespace, name := cutService(services[0])
	r.next = next(NoEndpoints, "NAMESPACE", namespace, "SERVICE", name)
	if local {
		r.cause, r.subject = PolicyDrop, "service "+services[0]+", which has no endpoint on this node and policy Local,"
		r.evidence = append(r.evidence, fmt.Sprintf("service %s has no local endpoint: its externalTrafficPolicy or internalTrafficPolicy is Local, and none of its ready pods is on this node", services[0]))
		r.next = []string{
			fmt.Sprintf("kubectl -n %s get endpointslices -l kubernetes.io/service-name=%s -o wide", namespace, name),
			fmt.Sprintf("kubectl -n %s get service %s -o yaml | grep TrafficPolicy", namespace, name),
		}
	}
	r.evidence = append(r.evidence, blame.describe()...)
	r.next = append(r.next, blame.show()...)
	return r
}

// hasNoEndpoints tells whether a Service has no ready endpoint, as far as is known.
func (w *window) hasNoEndpoints(service string) bool {
	e, known := w.to.Services[service]
	return known && e.Ready == 0
}

// anyServiceIsEmpty tells whether there is a Service without endpoints to which packets were lost, as far as is known.
func (w *window) anyServiceIsEmpty() bool {
	for _, e := range w.to.Services {
		if e.Ready == 0 {
			return true
		}
	}
	return slices.ContainsFunc(w.to.Rulesets, func(s Ruleset) bool {
		return slices.ContainsFunc(s.Rules, func(r record.Rule) bool { service, _ := withoutEndpoints(&r); return service != "" })
	})
}

// emptyService is the Service without endpoints to which a pair's packets go, and whether it has none on this node alone: by its
// EndpointSlices, or by the rule of kube-proxy's that took them.
func (w *window) emptyService(at aggregate.StageKey, h *hit) (service string, local bool) {
	if e, known := w.to.Services[h.Service]; known && e.Ready == 0 {
		return h.Service, false
	}
	for _, b := range w.lostAt(at) {
		if b.flows = slices.DeleteFunc(b.flows, func(f *LostFlow) bool { return !f.of(h) }); len(b.flows) == 0 {
			continue
		}
		if b.choose(); len(b.rules) == 0 {
			continue
		}
		if service, local = withoutEndpoints(&b.rules[0]); service != "" {
			return service, local
		}
	}
	return "", false
}

// cutService splits a Service's name as kube-proxy writes it, namespace/name:port, or as namespace/name, for a command: who writes a
// rule may call it what he likes.
func cutService(service string) (namespace, name string) {
	namespace, name, _ = strings.Cut(service, "/")
	name, _, _ = strings.Cut(name, ":")
	return shellWord(namespace), shellWord(name)
}
