package device

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Policers are the rates, in bits a second, to which tc polices what devices receive, by the devices' index: the lowest of each. CNIs that
// use Open vSwitch limit so what pods send. Devices that are gone, and those without, are left out.
func (w *Watcher) Policers(devices []int) map[int]uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	rates := map[int]uint64{}
	for _, index := range devices {
		messages, err := w.source.dump("filters", unix.RTM_GETTFILTER, &nl.TcMsg{Ifindex: int32(index), Parent: ingressFilters})
		if err != nil {
			continue
		}
		for _, m := range messages {
			if rate := parsePolicer(m); rate > 0 && (rates[index] == 0 || rate < rates[index]) {
				rates[index] = rate
			}
		}
	}
	return rates
}

// parsePolicer reads from an RTM_NEWTFILTER message to how many bits a second the filter lets packets pass; 0 if it does not police.
func parsePolicer(message []byte) (bits uint64) {
	const tbf, rate64 = 1, 8 // TCA_POLICE_TBF, TCA_POLICE_RATE64
	for name, options := range filterActions(message) {
		if name != "police" {
			continue
		}
		for kind, value := range attributes(options) {
			switch {
			case kind == tbf && bits == 0:
				bits = uint64(u32(value, 28)) * 8 // struct tc_police: five words, then tc_ratespec with its rate behind two words
			case kind == rate64:
				bits = u64(value, 0) * 8
			}
		}
	}
	return bits
}
