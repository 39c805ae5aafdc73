package device

import (
	"iter"
	"slices"
	"time"

	"tracer/internal/netdev"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// redirectsEvery is how often it is looked again from where an ifb gets its packets, as long as no device is known to redirect to it:
// of filters the kernel tells so often that nobody waits for it.
const redirectsEvery = 10 * time.Second

// ingressFilters is the parent of the filters of ingress, of a clsact qdisc as of an ingress qdisc: TC_H_MAKE(TC_H_CLSACT,
// TC_H_MIN_INGRESS).
const ingressFilters = 0xfffffff2

// redirects are the devices whose received packets tc redirects to an ifb, as the CNI's bandwidth plugin does with what a pod sends.
type redirects struct {
	from  map[int][]int // by the ifb's index
	asked []int         // the devices that were asked last
	at    time.Time
}

// set tells the ifbs among the devices from which others they get their packets. It asks the kernel only where that is not known.
func (r *redirects) set(s *source, devices []netdev.Device, now time.Time) {
	there := map[int]bool{}
	var ifbs []*netdev.Device
	var mayRedirect []int
	for i := range devices {
		d := &devices[i]
		there[d.Index] = true
		switch {
		case d.Role == netdev.RoleIFB:
			ifbs = append(ifbs, d)
		case d.Clsact:
			mayRedirect = append(mayRedirect, d.Index)
		}
	}
	if len(ifbs) == 0 {
		*r = redirects{}
		return
	}
	known := !slices.ContainsFunc(ifbs, func(d *netdev.Device) bool {
		from := r.from[d.Index]
		return len(from) == 0 || slices.ContainsFunc(from, func(index int) bool { return !there[index] })
	})
	if !known && (!slices.Equal(mayRedirect, r.asked) || now.Sub(r.at) >= redirectsEvery) {
		r.from, r.asked, r.at = map[int][]int{}, mayRedirect, now
		for _, index := range mayRedirect {
			for _, to := range s.redirectTargets(index) {
				r.from[to] = append(r.from[to], index)
			}
		}
	}
	for _, d := range ifbs {
		d.RedirectedFrom = slices.Clone(r.from[d.Index])
	}
}

// redirectTargets are the devices to which filters redirect what the device receives; none where the kernel does not say, as of a
// device that is gone meanwhile.
func (s *source) redirectTargets(index int) []int {
	messages, err := s.dump("filters", unix.RTM_GETTFILTER, &nl.TcMsg{Ifindex: int32(index), Parent: ingressFilters})
	if err != nil {
		return nil
	}
	var targets []int
	for _, m := range messages {
		for _, to := range parseRedirects(m) {
			if !slices.Contains(targets, to) {
				targets = append(targets, to)
			}
		}
	}
	return targets
}

// actionsOf are the attributes that hold the actions of a classifier: TCA_U32_ACT and its like in
// include/uapi/linux/pkt_cls.h.
func actionsOf(classifier string) int {
	switch classifier {
	case "u32":
		return 7
	case "flower", "basic", "flow":
		return 3
	case "matchall":
		return 2
	case "bpf":
		return 1
	}
	return 0
}

// parseRedirects reads from an RTM_NEWTFILTER message to which devices the filter redirects packets.
func parseRedirects(message []byte) (targets []int) {
	for name, options := range filterActions(message) {
		for kind, value := range attributes(options) {
			// struct tc_mirred: five words of tc_gen, what it does, the device.
			if name == "mirred" && kind == nl.TCA_MIRRED_PARMS && u32(value, 20) == egressRedirect {
				targets = append(targets, int(u32(value, 24)))
			}
		}
	}
	return targets
}

// filterActions yields the actions of a filter by name, with their options, from an RTM_NEWTFILTER message.
func filterActions(message []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		if len(message) < tcmsgBytes {
			return
		}
		classifier, options := "", []byte(nil)
		for kind, value := range attributes(message[tcmsgBytes:]) {
			switch kind {
			case nl.TCA_KIND:
				classifier = text(value)
			case nl.TCA_OPTIONS:
				options = value
			}
		}
		for kind, actions := range attributes(options) {
			if kind != actionsOf(classifier) {
				continue
			}
			for _, action := range attributes(actions) {
				name, of := "", []byte(nil)
				for kind, value := range attributes(action) {
					switch kind {
					case nl.TCA_ACT_KIND:
						name = text(value)
					case nl.TCA_ACT_OPTIONS:
						of = value
					}
				}
				if !yield(name, of) {
					return
				}
			}
		}
	}
}

// egressRedirect is TCA_EGRESS_REDIR.
const egressRedirect = 1
