package agent

import (
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/lab"
)

// run runs a command in a namespace.
func (c *cluster) run(in lab.Namespace, stdin string, command ...string) {
	c.Helper()
	cmd := exec.Command("ip", append([]string{"netns", "exec", string(in)}, command...)...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		c.Fatalf("%s: %v: %s", strings.Join(command, " "), err, out)
	}
}

// TestTranslatedReplies has a node masquerade what its pods send through the overlay. Replies then come out of the tunnel for
// the node itself; conntrack translates them back, and they go on to the pod.
func TestTranslatedReplies(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	node := c.lab.Node(1)
	c.run(node.Netns, fmt.Sprintf("table ip masq { chain post { type nat hook postrouting priority 100; oifname %q ip saddr %s masquerade; }; }",
		c.lab.OverlayDevice(), web.Address), "nft", "-f", "-")
	before, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	const n = 50
	api, _ := c.lab.Pod(lab.API)
	c.converse(web, n, api.Do, netip.AddrPortFrom(api.Address, 7777))
	c.eventually(10*time.Second, "replies that were translated back", func() (bool, string) {
		var translated float64
		for _, f := range c.now(0).Counts.Flows {
			if f.First.Destination.Addr() == node.Tunnel && f.Last.Destination.Addr() == web.Address {
				translated += f.Packets
			}
		}
		return translated == n, fmt.Sprintf("%v of %d", translated, n)
	})
	after, err := c.agents[0].loader.Counters()
	if err != nil {
		t.Fatal(err)
	}
	if missed := after.NoIngress - before.NoIngress; missed > unseen(after.Started-before.Started) {
		t.Errorf("%d packets came to an egress without a begin, of %d", missed, after.Started-before.Started)
	}
	got := stages(c.now(0).Counts, lab.API, lab.Web)
	for stage, device := range map[journey.Stage]string{journey.Decap: c.lab.OverlayDevice(), journey.Forward: "pod"} {
		if d := got[stage]; d.Device != device || d.Delay.Count() < n {
			t.Errorf("stage %s is %+v with %d packets, want at %s with at least %d", stage, d.StageKey, d.Delay.Count(), device, n)
		}
	}
}

// converse has a pod send so many datagrams to a socket that is opened in do, and wait for an answer to each.
func (c *cluster) converse(from lab.Pod, n int, do func(func() error) error, to netip.AddrPort) {
	c.Helper()
	var server net.PacketConn
	err := do(func() (err error) {
		server, err = net.ListenPacket("udp", to.String())
		return err
	})
	if err != nil {
		c.Fatal(err)
	}
	defer server.Close()
	go func() {
		buf := make([]byte, 64)
		for {
			n, back, err := server.ReadFrom(buf)
			if err != nil {
				return
			}
			if _, err := server.WriteTo(buf[:n], back); err != nil {
				return
			}
		}
	}()
	err = from.Do(func() error {
		conn, err := net.Dial("udp", to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		buf := make([]byte, 64)
		for i := range n {
			if _, err := fmt.Fprintf(conn, "datagram %d", i); err != nil {
				return err
			}
			if err := conn.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				return err
			}
			if _, err := conn.Read(buf); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		c.Fatal(err)
	}
}

// TestOwnSockets has a pod talk to the other node itself, by the address of its tunnel: such a journey ends as its packet is gone
// to the socket.
func TestOwnSockets(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	node := c.lab.Node(2)
	to := netip.AddrPortFrom(node.Tunnel, 7777)
	const n = 10
	c.converse(web, n, node.Do, to)
	c.eventually(10*time.Second, "datagrams to the node itself", func() (bool, string) {
		var got float64
		for _, f := range c.now(1).Counts.Flows {
			if f.First.Destination == to && f.Direction == journey.In {
				got += f.Packets
			}
		}
		return got == n, fmt.Sprintf("%v of %d", got, n)
	})
}

// TestLongHeld has packets wait for their next hop's link address for longer than a second: while they do, they are in flight, and
// then their journeys go on.
func TestLongHeld(t *testing.T) {
	t.Parallel()
	c := newCluster(t, lab.DefaultLoad())
	web, _ := c.lab.Pod(lab.Web)
	cache, _ := c.lab.Pod("cache")
	node := c.lab.Node(1)
	c.run(node.Netns, "", "sysctl", "-qw", "net.ipv4.neigh."+cache.Device+".mcast_solicit=10")
	c.run(cache.Netns, "", "ip", "link", "set", "eth0", "arp", "off")
	c.run(node.Netns, "", "ip", "neigh", "flush", "dev", cache.Device)
	send(t, web, cache.Address)
	c.eventually(10*time.Second, "packets that wait in forward for over 1.5 s", func() (bool, string) {
		inFlight := c.now(0).Counts.InFlight
		for _, f := range inFlight {
			if f.Stage == journey.Forward && f.Direction == journey.Out && f.Packets >= 3 && f.Oldest > 1.5 {
				return true, ""
			}
		}
		return false, fmt.Sprintf("%+v", inFlight)
	})
	c.run(cache.Netns, "", "ip", "link", "set", "eth0", "arp", "on")
	c.eventually(10*time.Second, "packets that went on", func() (bool, string) {
		for _, f := range c.now(0).Counts.Flows {
			if f.First.Destination.Addr() != cache.Address || f.Direction != journey.Local {
				continue
			}
			for _, s := range f.Stages {
				if s.Stage == journey.Forward && s.Seconds > 1.5*float64(s.Count) {
					return true, ""
				}
			}
			return false, fmt.Sprintf("%+v", f)
		}
		return false, "no packet did"
	})
	if now := c.now(0).Counts.InFlight; len(now) > 0 && now[0].Oldest > 1.5 {
		t.Errorf("still in flight: %+v", now)
	}
}
