package lab

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"
)

func testTopology(t *testing.T, overlay string) *topology {
	t.Helper()
	o := Options{Nodes: 3, Overlay: overlay, Pods: []PodSpec{{"cache", "node1"}, {"far", "node3"}}}.withDefaults()
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	top := newTopology(o)
	return &top
}

func TestTopologyIsWithoutConflict(t *testing.T) {
	t.Parallel()
	top := testTopology(t, VXLAN)
	addresses := map[netip.Addr]bool{top.gateway().Addr(): true, gateway6.Addr(): true, top.Service.Address: true}
	take := func(who string, all ...netip.Addr) {
		for _, a := range all {
			if addresses[a] || !a.IsValid() {
				t.Errorf("%s: address %v is taken", who, a)
			}
			addresses[a] = true
		}
	}
	for _, n := range top.Nodes {
		take(n.Name, n.Address, n.Address6, n.Tunnel, n.Tunnel6)
	}
	names := make(map[string]bool)
	podSyntax := regexp.MustCompile(`^[a-z]+-[a-z0-9]{9}-[a-z0-9]{5}$`)
	for _, p := range top.Pods {
		take(p.Name, p.Address, p.Address6)
		node := top.node(p.Node)
		if !node.Pods.Contains(p.Address) || !node.Pods6.Contains(p.Address6) {
			t.Errorf("%s: %v and %v are not %s's", p.Name, p.Address, p.Address6, node.Name)
		}
		if names[p.Device] || len(p.Device) != len("cali")+11 {
			t.Errorf("%s: device %q is taken or no name of Calico's", p.Name, p.Device)
		}
		names[p.Device] = true
		if !podSyntax.MatchString(p.PodName) {
			t.Errorf("pod name %q", p.PodName)
		}
	}
	if len(top.namespaces()) != 1+3+4 {
		t.Errorf("namespaces = %v", top.namespaces())
	}
}

func TestWriteIdentities(t *testing.T) {
	t.Parallel()
	top := testTopology(t, VXLAN)
	dir := t.TempDir()
	for i := range top.Nodes {
		top.Nodes[i].IdentityFile = filepath.Join(dir, top.Nodes[i].Name)
	}
	if err := top.writeIdentities(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(filepath.Join(dir, "node2"))
	if err != nil {
		t.Fatal(err)
	}
	var got []struct{ IP, Namespace, Pod, Workload, Node, Service string }
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	who := make(map[string]string)
	for _, e := range got {
		who[e.IP] = e.Namespace + "/" + e.Workload + "@" + e.Node + "/" + e.Service
	}
	for ip, want := range map[string]string{
		"172.30.0.11":      "/_node@node1/",
		"fd00:172:30::12":  "/_node@node2/",
		"10.244.1.2":       "default/web@node1/",
		"fd00:10:244:2::2": "default/api@node2/",
		"10.244.3.2":       "default/far@node3/",
		"10.96.0.10":       "default/@/api",
		"10.244.3.0":       "/_node@node3/",
		"fd00:10:244:1::3": "default/cache@node1/",
	} {
		if who[ip] != want {
			t.Errorf("%s is %q, want %q", ip, who[ip], want)
		}
	}
}
