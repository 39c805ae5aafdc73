// Package ethtool reads what network cards and their drivers count, as ethtool -S prints it, and which of the kernel's work devices take
// over, as ethtool -k does.
//
// There is a library for that (github.com/safchain/ethtool). It allocates a megabyte and asks for all names each time; here
// names are asked for when a device is met, and once in a minute.
package ethtool

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

const (
	// renewAfter is how long names are kept: a driver has others for another number of queues.
	renewAfter = time.Minute
	// statistics is the set of names (ETH_SS_STATS), of nameSize bytes each (ETH_GSTRING_LEN).
	statistics = 1
	nameSize   = 32
	// maxStatistics bounds what a driver may count. spare is room for more than it had a moment ago: kernels before 6.14 write as
	// many as there are.
	maxStatistics = 1 << 16
	spare         = 4096
)

// Reader reads the cards of one network namespace. Its methods may be called from any goroutine.
type Reader struct {
	mu      sync.Mutex
	socket  int
	devices map[int]*names // by index

	featureNames []string // by bit
}

// names are what is known of a device's statistics.
type names struct {
	read     time.Time
	device   string
	driver   string
	count    int
	wanted   []wanted
	counters []uint64 // room for them
}

// wanted is the place of a statistic that means something, and the name that it counts under.
type wanted struct {
	at   int
	name string
}

// Open returns a Reader for the calling thread's network namespace. The caller closes it.
func Open() (*Reader, error) {
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open a socket for ethtool: %w", err)
	}
	return &Reader{socket: socket, devices: make(map[int]*names)}, nil
}

// Close closes the socket.
func (r *Reader) Close() error { return unix.Close(r.socket) }

// Read returns what the cards among the devices, and veths that are uplinks, have counted: of uplinks that hand their packets to
// no other. A device that has no such statistics is left out; one that went away meanwhile, too.
func (r *Reader) Read(devices []netdev.Device) ([]netdev.NIC, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var nics []netdev.NIC
	var errs []error
	seen := make(map[int]bool)
	for i := range devices {
		d := &devices[i]
		if d.Role != netdev.RoleUplink || !d.Up || len(d.Lower) > 0 || d.Kind != "" && d.Kind != "veth" {
			continue
		}
		seen[d.Index] = true
		nic, err := r.nic(d)
		switch {
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENODEV):
		case err != nil:
			errs = append(errs, fmt.Errorf("read the statistics of %s: %w", d.Name, err))
		default:
			nics = append(nics, nic)
		}
	}
	for index := range r.devices {
		if !seen[index] {
			delete(r.devices, index)
		}
	}
	return nics, errors.Join(errs...)
}

func (r *Reader) nic(d *netdev.Device) (netdev.NIC, error) {
	count, err := r.countOf(d.Name, statistics)
	if err != nil {
		return netdev.NIC{}, err
	}
	n := r.devices[d.Index]
	if n == nil || n.device != d.Name || n.count != count || time.Since(n.read) >= renewAfter {
		if n, err = r.names(d.Name, count); err != nil {
			return netdev.NIC{}, err
		}
		r.devices[d.Index] = n
	}
	nic := netdev.NIC{Device: d.Name, Driver: n.driver, Counters: make(map[string]uint64)}
	if len(n.wanted) == 0 {
		return nic, nil
	}
	// struct ethtool_stats: command and number, then the statistics.
	header := (*[2]uint32)(unsafe.Pointer(&n.counters[0]))
	*header = [2]uint32{unix.ETHTOOL_GSTATS, uint32(count)}
	if err := r.ask(d.Name, unsafe.Pointer(&n.counters[0])); err != nil {
		return netdev.NIC{}, err
	}
	if int(header[1]) != count {
		n.read = time.Time{} // there are others now, whose names are asked for next time
		return nic, nil
	}
	for _, w := range n.wanted {
		nic.Counters[w.name] += n.counters[1+w.at]
	}
	return nic, nil
}

// countOf is how many names a device has in a set.
func (r *Reader) countOf(device string, set uint32) (int, error) {
	info := struct { // struct ethtool_sset_info, with the count of one set
		command, reserved uint32
		mask              uint64
		count             uint32
	}{command: unix.ETHTOOL_GSSET_INFO, mask: 1 << set}
	if err := r.ask(device, unsafe.Pointer(&info)); err != nil {
		return 0, err
	}
	if info.mask == 0 || info.count == 0 {
		return 0, unix.EOPNOTSUPP
	}
	if info.count > maxStatistics {
		return 0, fmt.Errorf("%d names", info.count)
	}
	return int(info.count), nil
}

// names asks for a device's driver and for the names of its statistics, and keeps those that mean something.
func (r *Reader) names(device string, count int) (*names, error) {
	info, err := unix.IoctlGetEthtoolDrvinfo(r.socket, device)
	if err != nil {
		return nil, err
	}
	n := &names{read: time.Now(), device: device, driver: unix.ByteSliceToString(info.Driver[:]), count: count}
	list, err := r.strings(device, statistics, count, spare)
	if err != nil {
		return nil, err
	}
	for i, name := range list {
		if c, ok := netdev.CounterOf(n.driver, name); ok {
			n.wanted = append(n.wanted, wanted{i, c.Name})
		}
	}
	if len(n.wanted) > 0 {
		n.counters = make([]uint64, 1+count+spare)
	}
	return n, nil
}

// ask calls the driver (SIOCETHTOOL) with a command and room for its answer.
func (r *Reader) ask(device string, command unsafe.Pointer) error {
	var request struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [24 - unsafe.Sizeof(uintptr(0))]byte
	}
	copy(request.name[:unix.IFNAMSIZ-1], device)
	request.data = command
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(r.socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request)))
	runtime.KeepAlive(command)
	if errno != 0 {
		return errno
	}
	return nil
}
