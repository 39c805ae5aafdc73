package loader

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// repeat runs the first hook so often over one packet of a flow, or more often, as a run that a signal interrupts begins
// anew. It returns how often it was, and how many of these were sampled.
func (k *kernel) repeat(packet []byte, times uint32) (seen, sampled uint64) {
	k.Helper()
	before := k.counters()
	if _, err := k.inL2.Run(&ebpf.RunOptions{Data: packet, Repeat: times}); err != nil {
		k.Fatal(err)
	}
	after := k.counters()
	if seen = after.Started + after.Unsampled - before.Started - before.Unsampled; seen < uint64(times) {
		k.Errorf("%d packets seen, of %d", seen, times)
	}
	return seen, after.Started - before.Started
}

// TestSampling has one flow at full speed beside many with a packet in each epoch. These are seen all, and for what
// they are; of the other so many are sampled, with such weights, that its total comes out right.
func TestSampling(t *testing.T) {
	t.Parallel()
	const (
		n       = 16
		quota   = 4
		epochs  = 50
		packets = 30_000 // of the elephant, in each epoch; all once more where that is interrupted, which is still less than a flow's count goes to
		mice    = 200
	)
	k := newKernel(t, bpfobj.TracerConfig{})
	chance := rand.New(rand.NewPCG(1, 2))
	packet := func(source string, port uint16) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: source, dst: pod2, protocol: 6}.over(tcp(port, 80, 3, "")))
	}
	elephant := packet(pod1, 1)
	var sent, total, sampled float64
	for epoch := range epochs {
		k.sample(n, quota, chance.Uint64())
		seen, started := k.repeat(elephant, packets)
		sent += float64(seen)
		sampled += float64(started) - quota
		total += quota + n*(float64(started)-quota)
		before := k.counters().Started
		for mouse := range uint16(mice) {
			k.pass(k.inL2, packet(fmt.Sprintf("10.244.3.%d", mouse%250), mouse+2), 0)
		}
		if seen := k.counters().Started - before; seen != mice {
			t.Errorf("epoch %d: %d of %d rare flows were seen", epoch, seen, mice)
		}
		// The table holds the last ones: they come in the same sk_buff.
		for _, r := range k.open() {
			if r.First.Source.Port() > 1 && r.Weight != 1 {
				t.Errorf("epoch %d: a rare flow's packet has weight %d", epoch, r.Weight)
			}
		}
	}
	k.reset()
	for tries := 0; ; tries++ {
		if _, sampled := k.repeat(elephant, 1); sampled > 0 {
			break
		}
		if tries == 200 {
			t.Fatal("of 200 packets beyond the quota none was sampled")
		}
	}
	if r := k.open(); len(r) != 1 || r[0].Weight != n {
		t.Errorf("beyond the quota the weight is %+v, want %d", r, n)
	}
	// Binomial: the standard error is sqrt(n packets epochs), a third of a percent.
	if total < 0.99*sent || total > 1.01*sent {
		t.Errorf("%v packets sampled with weight %d stand for %v in all, of %v", sampled, n, total, sent)
	}
}

// TestSamplingFlood gives more flows than there are quotas for: chance decides about the rest.
func TestSamplingFlood(t *testing.T) {
	t.Parallel()
	const n, flows = 64, 40_000
	k := newKernel(t, bpfobj.TracerConfig{})
	k.sample(n, 1, 7)
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 80, 3, "")))
	for flow := range flows {
		packet[28], packet[29], packet[34], packet[35] = byte(flow), byte(flow>>8), byte(flow>>16), byte(flow)
		if _, err := k.inL2.Run(&ebpf.RunOptions{Data: packet}); err != nil {
			t.Fatal(err)
		}
	}
	const quotas = uint64(bpfobj.TracerTableFLOW_BUCKETS * bpfobj.TracerTableSLOTS_PER_BUCKET)
	c := k.counters()
	if c.Started < quotas/2 || c.Started > quotas+2*flows/n {
		t.Errorf("%d of %d flows were sampled; %d have a quota", c.Started, flows, quotas)
	}
}
