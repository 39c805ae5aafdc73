package lab

import (
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// netem is comcast's tree: packets of the protocols that are classified (classify.go) go through class 10:10 and the netem
// below it.
type netem struct {
	delay time.Duration
	rate  uint64 // bits per second, 0 for none
	loss  float64
	limit uint64 // packets
}

// defaultNetemLimit is netem's own, in packets.
const defaultNetemLimit = 1000

// topRate is the rate, by comcast, of packets that it does not delay.
const topRate = 1_000_000_000

func planNetem(f Fault, p offeredLoad) (netem, Expected) {
	q := netem{delay: f.Delay, rate: f.Rate, loss: f.Loss, limit: defaultNetemLimit}
	if f.Limit != 0 {
		q.limit = max(1, uint64(float64(f.Limit)/p.packetBytes)) // netem counts packets, whatever their length
	}
	e := Expected{Delay: q.delay.Seconds(), Loss: q.loss, Settle: q.delay.Seconds()}
	if q.rate == 0 {
		return q, e
	}
	rate := float64(q.rate) / 8
	e.Delay += p.packetBytes / rate
	if p.bytes(f.Delay)*(1-q.loss) > rate {
		passes := p.bytes(f.Delay) * (1 - q.loss)
		full := float64(q.limit) * p.packetBytes / rate
		e.Delay, e.Loss = full, 1-rate/p.bytes(f.Delay)
		e.Settle = float64(q.limit) * p.packetBytes / (passes - rate)
		e.Note = fmt.Sprintf("the load is above this rate: the queue fills up to %d packets, which wait %.0f s", q.limit, full)
	}
	return q, e
}

func (q netem) classRate() uint64 {
	if q.rate == 0 {
		return topRate
	}
	return q.rate
}

func (q netem) commands(ns Namespace, device string) []string {
	discipline := "netem"
	if q.delay != 0 {
		discipline += " delay " + formatDelay(q.delay)
	}
	if q.rate != 0 {
		discipline += " rate " + formatRate(q.rate)
	}
	if q.loss != 0 {
		discipline += " loss " + formatLoss(q.loss)
	}
	if q.limit != defaultNetemLimit {
		discipline += fmt.Sprintf(" limit %d", q.limit)
	}
	in := fmt.Sprintf("ip netns exec %s tc ", ns)
	return []string{
		in + fmt.Sprintf("qdisc add dev %s root handle 10: htb default 1", device),
		in + fmt.Sprintf("class add dev %s parent 10: classid 10:1 htb rate %s", device, formatRate(topRate)),
		in + fmt.Sprintf("class add dev %s parent 10: classid 10:10 htb rate %s", device, formatRate(q.classRate())),
		in + fmt.Sprintf("qdisc add dev %s parent 10:10 handle 100: %s", device, discipline),
	}
}

func (q netem) add(h *netlink.Handle, link netlink.Link) error {
	root := netlink.NewHtb(qdiscAttrs(link, netlink.HANDLE_ROOT, handleRoot))
	root.Defcls = 1
	if err := h.QdiscAdd(root); err != nil {
		return fmt.Errorf("add htb to %s: %w", link.Attrs().Name, err)
	}
	for class, rate := range map[uint32]uint64{handleFast: topRate, handleSlow: q.classRate()} {
		attrs := netlink.ClassAttrs{LinkIndex: link.Attrs().Index, Parent: handleRoot, Handle: class}
		if err := h.ClassAdd(netlink.NewHtbClass(attrs, netlink.HtbClassAttrs{Rate: rate})); err != nil {
			return fmt.Errorf("add htb class %s to %s: %w", netlink.HandleStr(class), link.Attrs().Name, err)
		}
	}
	leaf := netlink.NewNetem(qdiscAttrs(link, handleSlow, handleNetem), netlink.NetemQdiscAttrs{
		Latency: uint32(q.delay.Microseconds()),
		Loss:    float32(q.loss * 100),
		Limit:   uint32(q.limit),
		Rate64:  q.rate / 8,
	})
	if err := h.QdiscAdd(leaf); err != nil {
		return fmt.Errorf("add netem to %s: %w", link.Attrs().Name, err)
	}
	return nil
}

// hasNetem tells whether the kernel has netem. It tries on the loopback device of the wire, which carries nothing, or of a machine's
// first pod.
func (t *topology) hasNetem() (bool, error) {
	ns := t.Wire
	if t.Machine != "" {
		ns = t.podsHere()[0].Netns
	}
	h, err := ns.handle()
	if err != nil {
		return false, err
	}
	defer h.Close()
	lo, err := h.LinkByName("lo")
	if err != nil {
		return false, fmt.Errorf("%s: find lo: %w", ns, err)
	}
	loadModule("sch_netem")
	q := netlink.NewNetem(qdiscAttrs(lo, netlink.HANDLE_ROOT, handleProbe), netlink.NetemQdiscAttrs{})
	if err := h.QdiscAdd(q); errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("ask the kernel for netem: %w", err)
	}
	return true, h.QdiscDel(q)
}
