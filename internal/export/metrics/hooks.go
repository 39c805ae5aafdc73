package metrics

var (
	hookUp = gauge("tracer_hook_up",
		"1 if a hook is attached and no other program runs before it; of all pods' devices together, if it is so at each.",
		"hook", "device")
	hookReattached = counter("tracer_hook_reattached_total",
		"How often a hook was attached again, since another program had removed it or gone before it.", "hook", "device")
)

var hooks = subject{
	families: []*metricFamily{hookUp, hookReattached},
	collect: func(from *input, to *scrape) {
		for _, h := range from.status.Hooks {
			to.min(hookUp, bit(h.Up), h.Hook, h.Role.Label(h.Device))
			if h.Device != "" {
				to.add(hookReattached, 0, h.Hook, h.Role.Label(h.Device))
			}
		}
		for _, r := range from.status.Reattached {
			to.add(hookReattached, float64(r.Count), r.Hook, r.Device)
		}
	},
}
