package identity

// KubernetesStatus tells how far the names can be relied on.
type KubernetesStatus struct {
	Scope     Scope             `json:"scope"`
	Synced    map[string]bool   `json:"synced"`    // by resource: all of it has been listed
	Errors    map[string]uint64 `json:"errors"`    // by resource: requests that failed
	Conflicts uint64            `json:"conflicts"` // addresses that two pods had at once
	Stale     bool              `json:"stale"`     // names are those of an earlier run, since the API server has not answered yet
}

// Status returns how far the names can be relied on.
func (k *Kubernetes) Status() KubernetesStatus {
	s := KubernetesStatus{
		Scope: k.options.Scope, Synced: map[string]bool{}, Errors: map[string]uint64{},
		Conflicts: k.conflicts.Load(), Stale: k.stale.Load(),
	}
	for _, w := range k.informers() {
		s.Synced[w.name], s.Errors[w.name] = w.synced.Load(), w.errors.Load()
	}
	return s
}

// Misses counts look-ups without an answer for addresses that have, or had, an owner.
func (k *Kubernetes) Misses() uint64 { return k.misses.Load() }
