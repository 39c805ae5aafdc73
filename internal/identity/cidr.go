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
)

// Networks name addresses outside of the cluster's pods by CIDR.
type Networks struct {
	list []network // the longest prefix first
}

type network struct {
	prefix netip.Prefix
	id     *aggregate.Identity
}

// ReadNetworks reads a YAML file that maps CIDRs, or single addresses, to names.
func ReadNetworks(path string) (*Networks, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read CIDR names: %w; give a readable YAML file, or none", err)
	}
	n, err := parseNetworks(data)
	if err != nil {
		return nil, fmt.Errorf("read CIDR names: %s: %w", path, err)
	}
	return n, nil
}

// parseNetworks reads a file's content. An error names the line.
func parseNetworks(data []byte) (*Networks, error) {
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var document yaml.Node
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return &Networks{}, nil
	} else if err != nil {
		return nil, readable(err)
	}
	top := document.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("line %d: give a map of CIDR to name, such as 10.20.0.0/16: databases", top.Line)
	}
	n := &Networks{}
	lines := map[netip.Prefix]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		prefix, err := parseNetwork(key.Value)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", key.Line, err)
		}
		if first, ok := lines[prefix]; ok {
			return nil, fmt.Errorf("line %d: %s is in line %d already; remove one of the two", key.Line, prefix, first)
		}
		lines[prefix] = key.Line
		name := value.Value
		switch {
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null" || strings.TrimSpace(name) == "":
			return nil, fmt.Errorf("line %d: %s has no name; write one behind the colon", value.Line, prefix)
		case strings.HasPrefix(name, "_") && !slices.Contains(reserved[:], name):
			return nil, fmt.Errorf("line %d: name %q of %s: only %s begin with an underscore", value.Line, name, prefix, strings.Join(reserved[:], ", "))
		}
		if err := checkPrintable(name); err != nil {
			return nil, fmt.Errorf("line %d: %w", value.Line, err)
		}
		n.list = append(n.list, network{prefix, &aggregate.Identity{Workload: name}})
	}
	var more yaml.Node
	if err := decoder.Decode(&more); err == nil {
		return nil, fmt.Errorf("line %d: a second document; all names are to be in one map", more.Line)
	} else if !errors.Is(err, io.EOF) {
		return nil, readable(err)
	}
	slices.SortStableFunc(n.list, func(a, b network) int { return cmp.Compare(b.prefix.Bits(), a.prefix.Bits()) })
	return n, nil
}

// find is the name of the longest prefix that holds an address, nil if none does.
func (n *Networks) find(address netip.Addr) *aggregate.Identity {
	if n == nil {
		return nil
	}
	for i := range n.list {
		if n.list[i].prefix.Contains(address) {
			return n.list[i].id
		}
	}
	return nil
}
