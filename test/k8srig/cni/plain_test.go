package cni

import (
	"fmt"
	"strings"
	"testing"

	"tracer/test/k8srig"
)

// plainConfig is a list with one of the reference plugins that connect pods, as kindnet configures ptp.
const plainConfig = `{"name": "pods", "cniVersion": "1.0.0", "plugins": [
  {%s, "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.244.NUMBER.0/24"}]], "dataDir": "/run/cni",
   "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}},
  {"type": "bandwidth", "capabilities": {"bandwidth": true}}
]}
`

// TestPTP has each pod on a link of its own.
func TestPTP(t *testing.T) {
	plainLayout(t, "ptp; kube-proxy by nftables", `"type": "ptp"`, "nftables", `"ipMasq": false`, `"ipMasq": false, "mtu": 1400`)
}

// TestBridge has a node's pods on a bridge.
func TestBridge(t *testing.T) {
	plainLayout(t, "bridge; kube-proxy by iptables", `"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true`, "iptables", `"hairpinMode": true`, `"hairpinMode": false`)
}

// plainLayout plays a plugin alone. Later one thing of its configuration is changed.
func plainLayout(t *testing.T, name, plugin, proxy, old, changed string) {
	t.Helper()
	config := fmt.Sprintf(plainConfig, plugin)
	c := plainCluster(t, config, proxy)
	l := newLayout(c, startLoad(t, c))
	l.restarts(t)
	l.counted(t)
	l.story(t, "eth0")
	l.reconfigured(t, config, old, changed)
	l.policy(t, proxy)
	l.bandwidth(t)
	l.record(t, name, "flannel", "github.com/containernetworking/plugins")
}

// plainCluster starts a cluster with a plugin alone: routes between the nodes, and masquerading, are set by hand.
func plainCluster(t *testing.T, config, proxy string) *cluster {
	t.Helper()
	p, err := fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := start(t, k8srig.Network{Plugins: plugins(t, p), Config: config, Proxy: proxy})
	for i, n := range c.nodes {
		other := c.nodes[1-i]
		for _, line := range []string{
			fmt.Sprintf("ip route add 10.244.%d.0/24 via %s", 1-i, other.Address),
			"iptables -t nat -A POSTROUTING -s " + pods + " ! -d " + pods + " -j MASQUERADE",
		} {
			if err := n.Run(strings.Fields(line)...); err != nil {
				t.Fatal(err)
			}
		}
	}
	return c
}
