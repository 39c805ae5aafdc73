package metrics

var (
	identityMisses = counter("tracer_identity_misses_total",
		"Lookups of addresses without a known owner.")
	identityEarly = counter("tracer_identity_early_total",
		"Records that were named before the usual delay for late names was over, since too many waited.")
	identitySynced = gauge("tracer_identity_synced",
		"1 once all objects of a kind have been read from the API server.", "resource")
	identityErrors = counter("tracer_identity_errors_total",
		"Requests to the API server that failed.", "resource")
	identityConflicts = counter("tracer_identity_conflicts_total",
		"Times that two pods claimed one address; neither is named until one of them is gone.")
	identityStale = gauge("tracer_identity_stale",
		"1 while names are those of an earlier run, since the API server has not answered yet.")
)

// identity is how addresses are named, by a cluster's API server where there is one.
var identity = subject{
	families: []*metricFamily{identityMisses, identityEarly, identitySynced, identityErrors, identityConflicts, identityStale},
	collect: func(from *input, to *scrape) {
		to.add(identityMisses, float64(from.status.IdentityMisses))
		to.add(identityEarly, float64(from.status.IdentityEarly))
		cluster := from.status.Identity
		if cluster == nil {
			return
		}
		for resource, synced := range cluster.Synced {
			to.add(identitySynced, bit(synced), resource)
		}
		for resource, n := range cluster.Errors {
			to.add(identityErrors, float64(n), resource)
		}
		to.add(identityConflicts, float64(cluster.Conflicts))
		to.add(identityStale, bit(cluster.Stale))
	},
}
