package identity

import (
	"net/netip"
	"sync/atomic"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// Table names addresses from a file. The zero Table has no names. All methods may be called by many goroutines at once.
type Table struct {
	hosts     map[netip.Addr]*aggregate.Identity // single addresses, as most are
	networks  map[netip.Prefix]*aggregate.Identity
	bits      []netip.Prefix                     // one of each family and length that networks has, the longest first
	endpoints map[string]record.ServiceEndpoints // by Service, where the file says
	misses    atomic.Uint64
}

var _ aggregate.VersionedNamer = (*Table)(nil)

// Lookup returns the zero Identity, and counts a miss, where no entry names the address. Entries hold for all times. It
// neither blocks nor allocates. IPv4-mapped addresses are IPv4, and zones are ignored.
func (t *Table) Lookup(addr netip.Addr, _ time.Duration) aggregate.Identity {
	if id := t.find(addr.Unmap().WithZone("")); id != nil {
		return *id
	}
	t.misses.Add(1)
	return aggregate.Identity{}
}

// Version is always the same: a table does not change.
func (t *Table) Version() (version uint64, since time.Duration) { return 1, 0 }

// Endpoints are those of a Service, as namespace/name; false if the file does not tell.
func (t *Table) Endpoints(service string) (record.ServiceEndpoints, bool) {
	e, ok := t.endpoints[service]
	return e, ok
}

// Misses counts lookups without an answer.
func (t *Table) Misses() uint64 { return t.misses.Load() }

// find returns the name of the longest prefix that contains the address, nil if none does.
func (t *Table) find(addr netip.Addr) *aggregate.Identity {
	if id := t.hosts[addr]; id != nil {
		return id
	}
	for _, p := range t.bits {
		if p.Addr().Is4() != addr.Is4() {
			continue
		}
		network, err := addr.Prefix(p.Bits())
		if err != nil {
			continue
		}
		if id := t.networks[network]; id != nil {
			return id
		}
	}
	return nil
}
