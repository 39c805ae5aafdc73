package lab

import (
	"net/netip"
	"strings"
	"testing"

	"tracer/internal/lab/load"
)

func TestOptionsDefaultsAreValid(t *testing.T) {
	t.Parallel()
	if err := (Options{}).withDefaults().validate(); err != nil {
		t.Error(err)
	}
}

func TestOptionsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Options){
		"dash in name":     func(o *Options) { o.Name = "a-b" },
		"path in name":     func(o *Options) { o.Name = "../etc" },
		"long name":        func(o *Options) { o.Name = strings.Repeat("a", 16) },
		"one node":         func(o *Options) { o.Nodes = 1 },
		"too many nodes":   func(o *Options) { o.Nodes = maxNodes + 1 },
		"unknown overlay":  func(o *Options) { o.Overlay = "geneve" },
		"routed by ipip":   func(o *Options) { o.Overlay, o.HostRouting = IPIP, true },
		"pod twice":        func(o *Options) { o.Pods = []PodSpec{{"a", "node1"}, {"a", "node2"}} },
		"pod named web":    func(o *Options) { o.Pods = []PodSpec{{Web, "node1"}} },
		"pod named wire":   func(o *Options) { o.Pods = []PodSpec{{wireName, "node1"}} },
		"pod like a node":  func(o *Options) { o.Pods = []PodSpec{{"node7", "node1"}} },
		"pod without node": func(o *Options) { o.Pods = []PodSpec{{"a", "node3"}} },
		"node with zeros":  func(o *Options) { o.Pods = []PodSpec{{"a", "node01"}} },
		"no load":          func(o *Options) { o.Load = load.Config{Size: 90} },
		"huge packets":     func(o *Options) { o.Load.Size = 9000 },
		"uplink's name":    func(o *Options) { o.Uplink = "eth 0" },
		"small pod net":    func(o *Options) { o.PodNet = netip.MustParsePrefix("10.244.0.0/24") },
		"net of Services":  func(o *Options) { o.PodNet = netip.MustParsePrefix("10.96.0.0/16") },
		"node in pod net":  func(o *Options) { o.NodeNet = netip.MustParsePrefix("10.244.9.0/24") },
	} {
		o := Options{}.withDefaults()
		change(&o)
		if err := o.validate(); err == nil {
			t.Errorf("%s: %+v is taken", name, o)
		}
	}
}

func TestParsePod(t *testing.T) {
	t.Parallel()
	if got, err := ParsePod("cache@node1"); err != nil || got != (PodSpec{"cache", "node1"}) {
		t.Errorf("ParsePod = %+v, %v", got, err)
	}
	for _, bad := range []string{"", "cache", "@node1", "cache@"} {
		if _, err := ParsePod(bad); err == nil || !strings.Contains(err.Error(), "name@node") {
			t.Errorf("ParsePod(%q) = %v, want advice", bad, err)
		}
	}
}
