package main

import (
	"errors"
	"time"

	"tracer/internal/device"
	"tracer/internal/diagnose"
	"tracer/internal/ethtool"
	"tracer/internal/netdev"
	"tracer/internal/netstat"
	"tracer/internal/underlay"
	"tracer/internal/wireguard"
)

// checkFor is for how long `tracer check` watches the kernel's counters rise.
const checkFor = time.Second

// staticFindings are what is found in the calling thread's network namespace without packets: by how devices are set up, and by counters that
// rise within a second. What cannot be read is left out, and said in the error.
func staticFindings(devices func([]netdev.Device) ([]netdev.Device, error)) (found []diagnose.Finding, err error) {
	var readers kernelReaders
	if err := readers.open(); err != nil {
		return nil, errors.Join(err, readers.close())
	}
	defer func() { err = errors.Join(err, readers.close()) }()
	from, err := readers.snapshot(devices)
	if err != nil {
		return nil, err
	}
	time.Sleep(checkFor)
	to, err := readers.snapshot(devices)
	if err != nil {
		return nil, err
	}
	return diagnose.Static(from, to), nil
}

// kernelReaders read what the kernel counts and how it is set up.
type kernelReaders struct {
	netstat   *netstat.Reader
	ethtool   *ethtool.Reader
	underlay  *underlay.Reader
	wireguard *wireguard.Reader
}

func (k *kernelReaders) open() (err error) {
	if k.netstat, err = netstat.Open(); err != nil {
		return err
	}
	if k.ethtool, err = ethtool.Open(); err != nil {
		return err
	}
	if k.underlay, err = underlay.Open(); err != nil {
		return err
	}
	k.wireguard, err = wireguard.Open()
	return err
}

func (k *kernelReaders) close() error {
	var errs []error
	if k.netstat != nil {
		errs = append(errs, k.netstat.Close())
	}
	if k.ethtool != nil {
		errs = append(errs, k.ethtool.Close())
	}
	if k.underlay != nil {
		k.underlay.Close()
	}
	if k.wireguard != nil {
		k.wireguard.Close()
	}
	return errors.Join(errs...)
}

// snapshot is what can be read now.
func (k *kernelReaders) snapshot(match func([]netdev.Device) ([]netdev.Device, error)) (s diagnose.Snapshot, err error) {
	state, err := device.List()
	if err != nil {
		return s, err
	}
	s.Taken = time.Now()
	if s.Devices, err = match(state.Devices); err != nil {
		return s, err
	}
	if s.Stats, err = k.netstat.Read(); err != nil {
		return s, err
	}
	if s.NICs, err = k.ethtool.Read(s.Devices); err != nil {
		return s, err
	}
	for i := range s.Devices {
		if d := &s.Devices[i]; d.Kind == "wireguard" {
			peers, err := k.wireguard.Peers(d.Name)
			if err != nil {
				return s, err
			}
			s.Peers = append(s.Peers, peers...)
		}
	}
	s.Tunnels, err = k.underlay.Read(s.Devices, s.Peers)
	return s, err
}
