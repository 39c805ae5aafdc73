package loader

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

// configure tells the programs what they cannot see for themselves. hooked are the devices that have tc hooks by the plan.
func (l *Loader) configure(devices, hooked []netdev.Device, addresses []netip.Addr) error {
	// A full map leaves journeys to some addresses without an end, counted as unfinished.
	addressSet := make(map[[16]byte]bool, len(addresses))
	for _, a := range addresses {
		addressSet[a.As16()] = true
	}
	if err := setKeys(l.objects.NodeIPs, l.addresses, addressSet); err != nil {
		return fmt.Errorf("update BPF map of node addresses: %w", err)
	}
	ports := podPorts(devices)
	table := newDeviceTable(hooked, func(d netdev.Device) uint8 { return l.classes.of(d, ports[d.Index]) })
	if err := l.setDeviceTable(table); err != nil {
		return err
	}
	return l.change(func(c *bpfobj.TracerConfig) {
		c.VxlanPort, c.GenevePort = tunnelPorts(devices, "vxlan"), tunnelPorts(devices, "geneve")
		c.Splitting = table.splitting()
	})
}

// change lets f change the programs' configuration while they run.
func (l *Loader) change(f func(*bpfobj.TracerConfig)) error {
	l.settings.Lock()
	defer l.settings.Unlock()
	var before bpfobj.TracerConfig
	if err := l.objects.Settings.Get(&before); err != nil {
		return fmt.Errorf("read the programs' configuration: %w", err)
	}
	after := before
	if f(&after); after == before {
		return nil
	}
	if err := l.objects.Settings.Set(after); err != nil {
		return fmt.Errorf("configure the programs: %w", err)
	}
	return nil
}

// BeginEpoch begins an epoch of sampling: each flow may start quota journeys in it, and of the packets beyond that one in
// n is sampled, by a hash with that salt; with n of 0 or 1 every packet is. Without further calls the quotas are used up.
func (l *Loader) BeginEpoch(n, quota uint32, salt uint64) error {
	return l.change(func(c *bpfobj.TracerConfig) {
		c.SampleN, c.FlowQuota, c.Salt = n, quota, salt
		if c.Epoch++; uint16(c.Epoch) == 0 {
			c.Epoch++ // what was never used looks as if it were of epoch 0
		}
	})
}

// setKeys makes the keys of a map in the kernel, which holds has, those of want, as far as there is room.
func setKeys[K comparable](m *ebpf.Map, has, want map[K]bool) error {
	for key := range has {
		if want[key] {
			continue
		}
		if err := m.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return err
		}
		delete(has, key)
	}
	for key := range want {
		if has[key] {
			continue
		}
		if err := m.Put(key, uint8(1)); errors.Is(err, unix.E2BIG) {
			return nil
		} else if err != nil {
			return err
		}
		has[key] = true
	}
	return nil
}
