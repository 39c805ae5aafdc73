package aggregate

import (
	"net/netip"
	"strings"
	"time"

	"tracer/internal/record"
)

// Identity says who is behind an address. The zero Identity is nobody known.
type Identity struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Workload  string `json:"workload,omitempty"` // the pod's owner as people name it; NodeWorkload or its like for no pod
	Service   string `json:"service,omitempty"`  // of a Service's virtual address
	Node      string `json:"node,omitempty"`
	// NodeAddress is an address of that node, if it is known.
	NodeAddress netip.Addr `json:"node_address,omitzero"`
	// Bandwidth and EgressBandwidth are how many bits a second the pod may receive and send, by its annotations; 0 if it has none.
	Bandwidth       uint64 `json:"bandwidth_bits,omitempty"`
	EgressBandwidth uint64 `json:"egress_bandwidth_bits,omitempty"`
	// Stale marks a name of an earlier run that nobody has confirmed yet.
	Stale bool `json:"stale,omitempty"`
}

// isPod tells whether it is a pod's.
func (id Identity) isPod() bool { return id.Namespace != "" && id.Workload != "" }

// leastBandwidth is the lower one of a pod's limits; 0 without one.
func (id Identity) leastBandwidth() uint64 {
	if id.Bandwidth == 0 || id.EgressBandwidth == 0 {
		return max(id.Bandwidth, id.EgressBandwidth)
	}
	return min(id.Bandwidth, id.EgressBandwidth)
}

// Namer tells who was behind an address. Its Lookup is called on the hot path: it must not block or allocate.
type Namer interface {
	// Lookup names who had the address at that time (CLOCK_MONOTONIC).
	Lookup(address netip.Addr, at time.Duration) Identity
}

// VersionedNamer is a Namer that tells when its answers change, so that it need not be asked for each packet.
type VersionedNamer interface {
	Namer
	// Version changes whenever answers may, and is never 0. As long as it stays, an address has the same name at all
	// times from since on.
	Version() (version uint64, since time.Duration)
}

// EndpointNamer is a Namer that knows the endpoints of Services. Like Lookup, EndpointOf must not block or allocate.
type EndpointNamer interface {
	Namer
	// EndpointOf is the one Service, as namespace/name, of which an address with a port is an endpoint now; "" if there is none,
	// or more than one.
	EndpointOf(to netip.AddrPort, protocol record.Protocol) string
}

// EndpointOf is the Service that packets of a flow were sent to an endpoint of, if names knows.
func EndpointOf(names Namer, to record.Flow) string {
	if e, ok := names.(EndpointNamer); ok {
		return e.EndpointOf(to.Destination, to.Protocol)
	}
	return ""
}

// serviceOf names the Service of a virtual address as namespace/name, "" if it is none.
func serviceOf(id Identity) string {
	if id.Service == "" || id.Namespace == "" || strings.Contains(id.Service, "/") {
		return id.Service
	}
	return id.Namespace + "/" + id.Service
}
