package truth

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// sampledDropPort is the destination port of the packets that are dropped. Their records are not taken.
const sampledDropPort = samplePort + 1

// sampledDrops drops packets when each is followed and when one in 64 or fewer are: each drop is counted both times, as
// many as the kernel counts itself, and at the same stage and device for the same reason.
func sampledDrops(r *rig) {
	var each, few []aggregate.DropKey
	r.run("each followed", func(r *rig) {
		r.follow(everything)
		each = r.dropTwice()
	})
	r.run("few followed", func(r *rig) {
		const least = 64
		r.follow(atMost(50))
		r.flood(r.pairs[0])
		r.sampling(least)
		few = r.dropTwice()
		if s := r.nodes[0].agent.Sampling(); s.OneIn < least {
			r.Errorf("the sampling is %+v in the midst of it", s)
		}
	})
	if each != nil && few != nil && !slices.Equal(few, each) {
		r.Errorf("drops are counted as\n%+v\nand when each packet is followed as\n%+v", few, each)
	}
}

// flood sends packets the other way until the test ends, of which none is dropped: so many that few are followed.
func (r *rig) flood(w *podPair) {
	r.Helper()
	back := *w
	back.from, back.to = w.to, w.from
	back.server = netip.AddrPortFrom(w.from.Address, 0)
	r.discard(&back)
	ctx, stop := context.WithCancel(r.Context())
	ended := make(chan error, 1)
	f := r.flows(&back, samplePort, 1, 24)[0]
	go func() {
		for n := 0; ctx.Err() == nil; n++ {
			if err := f.send(); err != nil {
				ended <- err
				return
			}
			if n%10 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		ended <- nil
	}()
	r.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			r.Error(err)
		}
	})
}

// dropTwice has a full queue drop packets and then a rule of netfilter's, and returns as what they were counted.
func (r *rig) dropTwice() []aggregate.DropKey {
	r.Helper()
	overlay := r.pairs[0].overlay
	r.tc(0, "qdisc replace dev "+overlay+" root tbf rate 1mbit burst 2000 limit 3000")
	queue := r.drop("a full queue", true, func() uint64 { return r.root(r.now(0).Devices, overlay).Drops })
	if queue.Device != overlay {
		r.Errorf("drops by the queue of %s are counted at %s", overlay, queue.Device)
	}
	r.tc(0, "qdisc del dev "+overlay+" root")

	r.inNode(0, "nft add table inet truth")
	r.Cleanup(func() { r.inNode(0, "nft delete table inet truth") })
	r.inNode(0, "nft add chain inet truth forward { type filter hook forward priority 0 ; }")
	r.inNode(0, fmt.Sprintf("nft add rule inet truth forward udp dport %d counter drop", sampledDropPort))
	rule := r.drop("a rule", false, func() (n uint64) {
		_, text, _ := strings.Cut(r.inNode(0, "nft list chain inet truth forward"), "counter packets ")
		if _, err := fmt.Sscan(text, &n); err != nil {
			r.Fatal(err)
		}
		return n
	})
	return []aggregate.DropKey{queue, rule}
}

// drop sends packets that are dropped, in a queue or elsewhere, and waits until as many are counted as by the kernel, all
// as the same, which it returns.
func (r *rig) drop(by string, queued bool, kernel func() uint64) (as aggregate.DropKey) {
	r.Helper()
	const packets = 5000
	drops := func() map[aggregate.DropKey]uint64 {
		found := map[aggregate.DropKey]uint64{}
		for _, d := range r.now(0).Counts.Drops {
			if d.Loss && (d.Stage == journey.Queue) == queued {
				found[d.DropKey] = d.Packets
			}
		}
		return found
	}
	r.awaitDrops()
	before := drops()
	w := r.pairs[0]
	if err := sendTo(w, datagrams{to: netip.AddrPortFrom(w.server.Addr(), sampledDropPort), size: 200, n: packets}); err != nil {
		r.Fatal(err)
	}
	var want uint64
	r.eventually(20*time.Second, "the drops by "+by, func() (bool, string) {
		want = kernel()
		counted, kinds := uint64(0), 0
		for key, n := range drops() {
			if n -= before[key]; n > 0 {
				counted, kinds, as = counted+n, kinds+1, key
			}
		}
		return want > packets/2 && counted == want && kinds == 1,
			fmt.Sprintf("%d by the kernel, %d by the tracer as %d kinds, one of them %+v", want, counted, kinds, as)
	})
	r.tell("drops by "+by, r.nodes[0].agent.Sampling().Sampling, "%d by the kernel's count and by the tracer's", want)
	return as
}
