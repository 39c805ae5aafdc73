package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/test/k8srig"
)

// load is packets with numbers on all ways that pods' packets take, each answered; lost ones are counted.
type load struct {
	c       *cluster
	outside *k8srig.Process // asks for the Service at all nodes' port, and for the servers at their nodes' own
}

// counts are what became of the packets of one way.
type counts struct {
	Sent, Answered uint64
	Lost           int64 // for the moment: some come late
}

// startLoad starts it, and waits until answers come by every way.
func startLoad(t *testing.T, c *cluster) *load {
	t.Helper()
	world := c.world + ":7777"
	masquerade := listenOutside(t, c.world)
	c.outside(t, "world", "serve", world)
	c.apply(t, strings.Replace(loadYAML, "COUNT]", "masquerade="+masquerade.address+"]", 1))
	startDNS(t, c)
	for _, d := range []string{"api", "web", "counter"} {
		c.kubectl(t, "-n store rollout status deployment/"+d+" --timeout=300s")
	}
	masquerade.check(t, c.nodes[0])

	targets := []string{
		"service=" + strings.TrimSpace(c.kubectl(t, "-n store get service api -o jsonpath={.spec.clusterIP}")) + ":80",
		"outside=" + world,
	}
	for _, n := range c.nodes {
		ip := c.kubectl(t, "-n store get pods -l app=api -o jsonpath={.items[0].status.podIP} --field-selector spec.nodeName="+n.Name)
		targets = append(targets, n.Name+"="+strings.TrimSpace(ip)+":8080")
	}
	first := nodeEnd(t, "counter")
	c.apply(t, strings.Replace(loadYAML, "COUNT]", strings.Join(targets, ", ")+"]", 1))
	c.kubectl(t, "-n store rollout status deployment/counter --timeout=300s")
	until(t, time.Minute, "end the first counter", func() error {
		names, err := c.Kubectl("-n", "store", "get", "pods", "-l", "app=counter", "-o", "name")
		if err == nil && len(strings.Fields(names)) != 1 {
			err = errors.New(names)
		}
		// The kernel takes a network down, and its device, after Kubernetes has forgotten the pod.
		if err == nil && slices.ContainsFunc(devices(t, c.nodes[0]), func(d net.Interface) bool { return d.Index == first }) {
			err = fmt.Errorf("device %d is still there", first)
		}
		return err
	})
	l := &load{c: c}
	l.outside = c.outside(t, "outside", "count", "nodeport-a="+c.nodes[0].Address+":30080", "nodeport-b="+c.nodes[1].Address+":30080",
		"hostport-a="+c.nodes[0].Address+":18081", "hostport-b="+c.nodes[1].Address+":18081")
	until(t, 30*time.Second, "get answers on all ways", func() error {
		now, err := l.counts()
		if err != nil {
			return err
		}
		if len(now) != len(targets)+4 {
			return fmt.Errorf("counts %v", now)
		}
		for way, n := range now {
			if n.Answered < 100 {
				return fmt.Errorf("%s: %+v", way, n)
			}
		}
		return nil
	})
	return l
}

// counts are what became of the packets so far, by way.
func (l *load) counts() (map[string]counts, error) {
	inside, err := l.c.Kubectl("-n", "store", "logs", "deployment/counter", "--tail=1")
	if err != nil {
		return nil, err
	}
	now := map[string]counts{}
	for _, text := range []string{inside, l.outside.Output()} {
		lines := strings.Split(strings.TrimSpace(text), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &now); err != nil {
			return nil, err
		}
	}
	return now, nil
}

// settled waits until it is known what became of all packets that have been sent by now, and says it.
func (l *load) settled(t *testing.T) (now map[string]counts) {
	t.Helper()
	var begin map[string]counts
	until(t, 30*time.Second, "hear of the last packets", func() (err error) {
		if now, err = l.counts(); err != nil {
			return err
		}
		if begin == nil {
			begin = now
		}
		for way, n := range now {
			if n.Answered+uint64(n.Lost) < begin[way].Sent {
				return errors.New("some packets are on their way")
			}
		}
		return nil
	})
	return now
}

// outsider listens outside of the cluster and looks where packets come from.
type outsider struct {
	conn    net.PacketConn
	address string
}

func listenOutside(t *testing.T, address string) *outsider {
	t.Helper()
	conn, err := net.ListenPacket("udp", address+":0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &outsider{conn: conn, address: conn.LocalAddr().String()}
}

// check: what comes from a pod comes from its node's address; but perhaps the first, that Cilium lets go while it sets the uplink up.
func (o *outsider) check(t *testing.T, n *k8srig.Node) {
	t.Helper()
	if err := o.conn.SetReadDeadline(time.Now().Add(busy * 10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	for last := "no address"; last != n.Address; {
		_, from, err := o.conn.ReadFrom(make([]byte, 2048))
		if err != nil {
			t.Fatalf("a pod's packets to the outside come from %s, not masqueraded to %s: %v", last, n.Address, err)
		}
		last = from.(*net.UDPAddr).IP.String()
	}
}

var udpLine = regexp.MustCompile(`(?m)^Udp: [0-9].*`)

// overflown is how many packets had no room in the sockets of the load's programs, in all of their networks, and in the CPUs' queues: the machine
// stood still, and nothing between was to blame.
func overflown(t *testing.T) (sum uint64) {
	t.Helper()
	networks := map[string]bool{}
	processes, err := filepath.Glob("/proc/[0-9]*/comm")
	if err != nil {
		t.Fatal(err)
	}
	for _, comm := range processes {
		dir := filepath.Dir(comm)
		name, err := os.ReadFile(comm)
		network, linkErr := os.Readlink(filepath.Join(dir, "ns/net"))
		if err != nil || linkErr != nil || strings.TrimSpace(string(name)) != "app" || networks[network] {
			continue // or it has ended
		}
		networks[network] = true
		data, err := os.ReadFile(filepath.Join(dir, "net/snmp"))
		if err != nil {
			continue
		}
		const receiveBufferErrors = 5
		if fields := strings.Fields(udpLine.FindString(string(data))); len(fields) > receiveBufferErrors {
			n, err := strconv.ParseUint(fields[receiveBufferErrors], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
	}
	data, err := os.ReadFile("/proc/net/softnet_stat")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		n, err := strconv.ParseUint(strings.Fields(line)[1], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		sum += n
	}
	return sum
}
