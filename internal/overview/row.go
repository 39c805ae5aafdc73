package overview

import (
	"cmp"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// Row is one pair of workloads, flow or service.
type Row struct {
	Src              Party             `json:"src"`
	Dst              Party             `json:"dst"`
	Service          string            `json:"service,omitempty"`     // namespace/name
	EndpointOf       string            `json:"endpoint_of,omitempty"` // the Service that dst is an endpoint of, if there is no service
	Protocol         string            `json:"protocol,omitempty"`    // of a flow
	Pairs            int               `json:"pairs,omitempty"`       // how many a service's row sums up
	Direction        journey.Direction `json:"direction"`
	PacketsPerSecond float64           `json:"packets_per_second"`
	BitsPerSecond    float64           `json:"bits_per_second"`
	Path             *Delay            `json:"path"`   // whole time on this node; null if nothing came through
	Stages           []Stage           `json:"stages"` // in the order in which packets meet them
	Worst            *Place            `json:"worst"`  // where most of the time goes
	Drops            Drops             `json:"drops"`
	TCP              *TCP              `json:"tcp"`                // null if nothing is known of its connections
	Requests         *Requests         `json:"requests,omitempty"` // null if src has asked nothing; of pairs and Services
	InFlight         float64           `json:"held"`               // packets in flight where the oldest of them is
	OldestSeconds    float64           `json:"oldest_seconds"`
	NoAnswer         *NoAnswer         `json:"no_answer"` // null if it is answered; of pairs and flows
	// Pain is the extra time of its packets, in seconds each second, by the formula that orders findings too
	// (aggregate.Excess, aggregate.Pair.RTO): what they spend here beyond the baseline, and for each packet dropped the time
	// until it is sent again.
	Pain float64 `json:"pain"`
	// Nodes are those that saw its packets, in a cluster's overview: the senders' first. The direction is "both" there if the nodes of both
	// ends did.
	Nodes []string `json:"nodes,omitempty"`
}

// Key names the row's pair.
func (r *Row) Key() aggregate.PairKey {
	return aggregate.PairKey{
		SrcNamespace: r.Src.Namespace, SrcWorkload: r.Src.Workload,
		DstNamespace: r.Dst.Namespace, DstWorkload: r.Dst.Workload, Direction: r.Direction,
	}
}

// ServiceName is the Service by whose address dst was reached, or else the one that it is an endpoint of.
func (r *Row) ServiceName() string { return cmp.Or(r.Service, r.EndpointOf) }

// Party is who sends or receives.
type Party struct {
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Pod       string `json:"pod,omitempty"`     // of a flow
	Address   string `json:"address,omitempty"` // of a flow, with its port
}

// String names a party as people do: a flow's by its pod or else its address, with the port.
func (p Party) String() string {
	name := cmp.Or(p.Pod, p.Workload)
	if p.Namespace != "" {
		name = p.Namespace + "/" + name
	}
	switch {
	case p.Address == "":
		return name
	case p.Pod == "":
		return p.Address
	}
	if i := strings.LastIndexByte(p.Address, ':'); i >= 0 && (!strings.Contains(p.Address[:i], ":") || p.Address[0] == '[') {
		return name + p.Address[i:]
	}
	return name
}

// Delay is the quantiles of a distribution.
type Delay struct {
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// newDelay is what is shown of a histogram; nil if it is empty.
func newDelay(h *hist.Histogram) *Delay {
	if h.Count() == 0 {
		return nil
	}
	return &Delay{P50: h.Quantile(0.5), P99: h.Quantile(0.99)}
}

// p50 and p99 are 0 where there is no delay.
func (d *Delay) p50() float64 {
	if d == nil {
		return 0
	}
	return d.P50
}

func (d *Delay) p99() float64 {
	if d == nil {
		return 0
	}
	return d.P99
}
