package identity

import (
	"maps"
	"net/netip"
	"slices"
)

// maxChanged bounds the addresses whose changes are noted. When there are more, all have to be looked at.
const maxChanged = 1 << 14

// takeChanges are the addresses whose owner may have changed since the call before; all if these are not known, as at the first call.
func (t *ownerTable) takeChanges() (list []netip.Addr, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	list, all = slices.Collect(maps.Keys(t.changed)), t.changed == nil
	t.changed = map[netip.Addr]bool{}
	return list, all
}

// loseChanges has the next takeChanges return all.
func (t *ownerTable) loseChanges() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed = nil
}

// noteChange notes that the owner of an address may have changed. The lock is held.
func (t *ownerTable) noteChange(address netip.Addr) {
	switch {
	case t.changed == nil:
	case len(t.changed) == maxChanged:
		t.changed = nil
	default:
		t.changed[address] = true
	}
}
