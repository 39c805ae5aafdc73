package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"tracer/internal/lab"
	"tracer/test/apiserver"
)

// cluster is what the agent lives in, and what is done to it.
type cluster struct {
	*lab.Lab
	api     *apiserver.Server
	counted counts
}

// counts are of what was done.
type counts struct {
	pods, queues, renames, qdiscs, flows, connections, unanswered, views, absences atomic.Int64
}

func (c *cluster) run(commands ...string) error {
	for _, command := range commands {
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", command, err, out)
		}
	}
	return nil
}

// queueEvery is how many pods there are for one with a queue of its own. An agent takes that for gone after half a minute without packets,
// which is the time of five pods or less.
const queueEvery = 8

// podsComeAndGo makes one pod after the other on the first node, with its objects at the API server, has it send, renames its
// device, and takes it away. Some have a queue of their own, for which the agent attaches a hook as long as it is used. Alive are so
// many at a time.
func (c *cluster) podsComeAndGo(ctx context.Context, every time.Duration, alive int) error {
	node := string(c.Node(1).Netns)
	type pod struct{ name, netns, device, address string }
	var living []pod
	remove := func(p pod) error {
		c.api.SetPod(p.name, "node1", "")
		return c.run("ip -n "+node+" link del "+p.device, "ip netns del "+p.netns)
	}
	defer func() {
		for _, p := range living {
			_ = remove(p) // the lab goes away with its namespaces
		}
	}()
	for i := 0; pause(ctx, every); i++ {
		p := pod{
			name: fmt.Sprintf("soak-%d", i), netns: fmt.Sprintf("%s-soak%d", c.Name(), i), device: fmt.Sprintf("calis%d", i),
			address: fmt.Sprintf("10.244.1.%d", 100+i%100),
		}
		living = append(living, p)
		if i%2 == 0 { // the API server knows it before the kernel, or after
			c.api.SetPod(p.name, "node1", p.address)
		}
		err := c.run(
			"ip netns add "+p.netns,
			"ip link add eth0 netns "+p.netns+" type veth peer name "+p.device+" netns "+node,
			"ip -n "+p.netns+" addr add "+p.address+"/32 dev eth0",
			"ip -n "+p.netns+" link set lo up",
			"ip -n "+p.netns+" link set eth0 up",
			"ip -n "+p.netns+" route add 169.254.1.1 dev eth0 scope link",
			"ip -n "+p.netns+" route add default via 169.254.1.1 dev eth0",
			"ip -n "+node+" link set "+p.device+" up",
			"ip netns exec "+node+" sysctl -qw net.ipv4.conf."+p.device+".proxy_arp=1 net.ipv4.neigh."+p.device+".proxy_delay=0",
			"ip -n "+node+" route replace "+p.address+" dev "+p.device+" scope link")
		if err != nil {
			return err
		}
		if i%queueEvery == 1 {
			if err := c.run("tc -n " + p.netns + " qdisc add dev eth0 root tbf rate 100mbit burst 100kb latency 50ms"); err != nil {
				return err
			}
			c.counted.queues.Add(1)
		}
		c.api.SetPod(p.name, "node1", p.address)
		if err := lab.Namespace(p.netns).Do(func() error { return c.call(ctx, 20) }); err != nil {
			return err
		}
		if i%3 == 0 {
			renamed := fmt.Sprintf("calir%d", i)
			err := c.run("ip -n "+node+" link set "+p.device+" down", "ip -n "+node+" link set "+p.device+" name "+renamed,
				"ip -n "+node+" link set "+renamed+" up", "ip -n "+node+" route replace "+p.address+" dev "+renamed+" scope link")
			if err != nil {
				return err
			}
			living[len(living)-1].device = renamed
			c.counted.renames.Add(1)
		}
		c.counted.pods.Add(1)
		if len(living) > alive {
			if err := remove(living[0]); err != nil {
				return err
			}
			living = living[1:]
		}
	}
	return nil
}

// qdiscsChange gives uplink and overlay another queue each time.
func (c *cluster) qdiscsChange(ctx context.Context, every time.Duration) error {
	node := string(c.Node(1).Netns)
	queues := []string{
		"qdisc replace dev %s root handle 8001: tbf rate 1gbit burst 1mb latency 200ms",
		"qdisc replace dev %s root handle 8002: pfifo limit 1000",
		"qdisc replace dev %s root handle 8003: htb default 1",
		"qdisc del dev %s root",
	}
	for i := 0; pause(ctx, every); i++ {
		for _, device := range []string{"eth0", c.OverlayDevice()} {
			if err := c.run("tc -n " + node + " " + fmt.Sprintf(queues[i%len(queues)], device)); err != nil {
				return err
			}
			c.counted.qdiscs.Add(1)
		}
	}
	return nil
}

// apiServerGoes has it go away for a while, now and then.
func (c *cluster) apiServerGoes(ctx context.Context, every, away time.Duration) error {
	for pause(ctx, every) {
		if err := c.api.GoAway(); err != nil {
			return err
		}
		c.counted.absences.Add(1)
		pause(ctx, away)
		if err := c.api.Come(); err != nil {
			return err
		}
	}
	return nil
}

// pause waits for about that long, and tells whether the run still goes on.
func pause(ctx context.Context, about time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(about/2 + rand.N(about)):
		return true
	}
}
