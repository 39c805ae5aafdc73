package identity

import (
	"net/netip"
	"sync/atomic"
	"time"

	"tracer/internal/aggregate"
)

// Table names addresses from a file. All methods may be called by many goroutines at once.
type Table struct {
	path    string
	index   atomic.Pointer[index]
	version atomic.Uint64 // how often the file was read
	misses  atomic.Uint64
}

var _ aggregate.VersionedNamer = (*Table)(nil)

// LoadFile reads a table from a YAML file: a list of entries with the keys ip (an address or a CIDR), namespace, pod,
// workload, service and node. The longest prefix that holds an address names it. The workload "_node" stands for a
// node's own addresses, "_external" for those outside of the cluster; a Service's virtual address has a service in
// place of a workload.
func LoadFile(path string) (*Table, error) {
	t := &Table{path: path}
	if err := t.Reload(); err != nil {
		return nil, err
	}
	return t, nil
}

// Reload reads the file again. If that fails the table stays as it is.
func (t *Table) Reload() error {
	x, err := readFile(t.path)
	if err != nil {
		return err
	}
	t.index.Store(x)
	t.version.Add(1)
	return nil
}

// Lookup returns the zero Identity, and counts a miss, where no entry names the address. Entries hold for all times. It
// neither blocks nor allocates. IPv4-mapped addresses are IPv4, and zones are ignored. An empty Table has no names.
func (t *Table) Lookup(addr netip.Addr, _ time.Duration) aggregate.Identity {
	if x := t.index.Load(); x != nil {
		if id := x.lookup(addr.Unmap().WithZone("")); id != nil {
			return *id
		}
	}
	t.misses.Add(1)
	return aggregate.Identity{}
}

// Version changes when the file has been read again.
func (t *Table) Version() (version uint64, since time.Duration) { return t.version.Load() + 1, 0 }

// Misses counts lookups without an answer.
func (t *Table) Misses() uint64 { return t.misses.Load() }

// Len returns the number of entries.
func (t *Table) Len() int {
	if x := t.index.Load(); x != nil {
		return len(x.hosts) + len(x.networks)
	}
	return 0
}

// index does not change once it is in a Table.
type index struct {
	hosts    map[netip.Addr]*aggregate.Identity // single addresses, as most are
	networks map[netip.Prefix]*aggregate.Identity
	bits     []netip.Prefix // one of each family and length that networks has, the longest first
}

func (x *index) lookup(addr netip.Addr) *aggregate.Identity {
	if id := x.hosts[addr]; id != nil {
		return id
	}
	for _, p := range x.bits {
		if p.Addr().Is4() != addr.Is4() {
			continue
		}
		network, err := addr.Prefix(p.Bits())
		if err != nil {
			continue
		}
		if id := x.networks[network]; id != nil {
			return id
		}
	}
	return nil
}
