package identity

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// entry is one of the file's.
type entry struct {
	IP        string `yaml:"ip"`
	Namespace string `yaml:"namespace"`
	Pod       string `yaml:"pod"`
	Workload  string `yaml:"workload"`
	Service   string `yaml:"service"`
	Node      string `yaml:"node"`
	Endpoints *int   `yaml:"endpoints"`
	// As the pod's annotations have them.
	Ingress string `yaml:"ingress_bandwidth"`
	Egress  string `yaml:"egress_bandwidth"`
}

// reserved are the workloads with a leading underscore that a file may give.
var reserved = [...]string{aggregate.NodeWorkload, aggregate.ExternalWorkload, aggregate.UnknownWorkload}

// LoadFile reads a table from a YAML file: a list of entries with the keys ip (an address or a CIDR), namespace, pod,
// workload, service, node and endpoints, and of a pod ingress_bandwidth and egress_bandwidth, its annotations. The longest prefix
// that contains an address names it. The workload "_node" stands for a
// node's own addresses, "_external" for those outside of the cluster; a Service's virtual address has a service in
// place of a workload, and may say how many ready endpoints it has.
func LoadFile(path string) (*Table, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read identities: %w; give a readable YAML file, or none", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("read identities: %s: %w", path, err)
	}
	return t, nil
}

// parse reads a file's content. An error names the line.
func parse(data []byte) (*Table, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	var entries []*entry                                                        // pointers, since an empty entry would be left out otherwise
	if err := decoder.Decode(&entries); err != nil && !errors.Is(err, io.EOF) { // EOF: empty
		return nil, readable(err)
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document; all entries are to be in one list", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, readable(err)
	}
	var nodes []yaml.Node // the same once more, for the lines alone
	if err := yaml.Unmarshal(data, &nodes); err != nil {
		return nil, readable(err)
	}

	t := &Table{
		hosts:     make(map[netip.Addr]*aggregate.Identity, len(entries)),
		networks:  make(map[netip.Prefix]*aggregate.Identity),
		endpoints: make(map[string]record.ServiceEndpoints),
	}
	lines := make(map[netip.Prefix]int, len(entries))
	for i, e := range entries {
		line := nodes[i].Line
		if e == nil {
			return nil, fmt.Errorf("line %d: an empty entry; give it an ip and a workload, or remove it", line)
		}
		network, err := e.check()
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if first, ok := lines[network]; ok {
			return nil, fmt.Errorf("line %d: ip %q is in line %d already; remove one of the two", line, e.IP, first)
		}
		lines[network] = line
		if e.Endpoints != nil && e.Service != "" {
			t.endpoints[e.Namespace+"/"+e.Service] = record.ServiceEndpoints{Ready: *e.Endpoints, Local: *e.Endpoints}
		}
		id := &aggregate.Identity{Namespace: e.Namespace, Pod: e.Pod, Workload: e.Workload, Service: e.Service, Node: e.Node}
		if id.Bandwidth, id.EgressBandwidth, err = e.bandwidths(); err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		t.add(network, id)
	}
	t.placeNodes(entries)
	slices.SortFunc(t.bits, func(a, b netip.Prefix) int { return cmp.Compare(b.Bits(), a.Bits()) })
	return t, nil
}

// placeNodes gives names the address of their node: the first that is listed of it.
func (t *Table) placeNodes(entries []*entry) {
	addresses := make(map[string]netip.Addr)
	for _, e := range entries {
		if a, err := netip.ParseAddr(e.IP); err == nil && e.Workload == aggregate.NodeWorkload && e.Node != "" && !addresses[e.Node].IsValid() {
			addresses[e.Node] = a.Unmap()
		}
	}
	for _, id := range t.hosts {
		id.NodeAddress = addresses[id.Node]
	}
}

// check returns what the entry names.
func (e *entry) check() (netip.Prefix, error) {
	if e.IP == "" {
		return netip.Prefix{}, errors.New("entry without ip; add the address or CIDR that it names")
	}
	network, err := parseNetwork(e.IP)
	if err != nil {
		return netip.Prefix{}, err
	}
	switch {
	case e.Workload == "" && e.Service == "":
		return netip.Prefix{}, fmt.Errorf("ip %q has neither workload nor service; add one of them (workload: _node for a node's own address)", e.IP)
	case strings.HasPrefix(e.Workload, "_") && !slices.Contains(reserved[:], e.Workload):
		return netip.Prefix{}, fmt.Errorf("workload %q of ip %q: only %s begin with an underscore", e.Workload, e.IP, strings.Join(reserved[:], ", "))
	}
	for _, name := range []string{e.Namespace, e.Pod, e.Workload, e.Service, e.Node} {
		if err := checkPrintable(name); err != nil {
			return netip.Prefix{}, err
		}
	}
	return network, nil
}

// bandwidths are the entry's limits in bits a second; 0 where it has none.
func (e *entry) bandwidths() (ingress, egress uint64, err error) {
	if e.Ingress != "" {
		if ingress, err = parseBandwidth(e.Ingress); err != nil {
			return 0, 0, err
		}
	}
	if e.Egress != "" {
		egress, err = parseBandwidth(e.Egress)
	}
	return ingress, egress, err
}

// parseNetwork reads an address, or a CIDR whose host bits are zero.
func parseNetwork(s string) (netip.Prefix, error) {
	network, err := netip.ParsePrefix(s)
	if err == nil {
		if network.Addr().Is4In6() {
			return netip.Prefix{}, fmt.Errorf("ip %q is an IPv4-mapped prefix; write it as IPv4", s)
		}
		if network != network.Masked() {
			return netip.Prefix{}, fmt.Errorf("ip %q has host bits; write %s for the network, or the address without the prefix length", s, network.Masked())
		}
		return network, nil
	}
	addr, err := netip.ParseAddr(s)
	if err != nil || addr.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("ip %q is neither an address nor a CIDR", s)
	}
	addr = addr.Unmap()
	return netip.PrefixFrom(addr, addr.BitLen()), nil
}

func (t *Table) add(network netip.Prefix, id *aggregate.Identity) {
	if network.IsSingleIP() {
		t.hosts[network.Addr()] = id
		return
	}
	t.networks[network] = id
	known := slices.ContainsFunc(t.bits, func(p netip.Prefix) bool {
		return p.Bits() == network.Bits() && p.Addr().Is4() == network.Addr().Is4()
	})
	if !known {
		t.bits = append(t.bits, network)
	}
}

// readable puts an error of the YAML package on one line and takes Go's type names out of it.
func readable(err error) error {
	text := err.Error()
	if typed, ok := errors.AsType[*yaml.TypeError](err); ok {
		text = strings.Join(typed.Errors, "; ")
	}
	text = strings.TrimPrefix(text, "yaml: ")
	text = strings.NewReplacer(
		" in type identity.entry", "; the keys are ip, namespace, pod, workload, service, node, endpoints, ingress_bandwidth, egress_bandwidth",
		"into []*identity.entry", "into a list of entries",
		"into identity.entry", "into an entry",
	).Replace(text)
	return errors.New(text)
}
