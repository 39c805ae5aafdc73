package metrics

var hookUp = gauge("tracer_hook_up",
	"1 if a hook is attached; of all pods' devices together, if it is at each.", "hook", "device")

var hooks = subject{
	families: []*metricFamily{hookUp},
	collect: func(from *input, to *scrape) {
		for _, h := range from.status.Hooks {
			to.min(hookUp, bit(h.Up), h.Hook, h.Role.Label(h.Device))
		}
	},
}
