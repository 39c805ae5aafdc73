package loader

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// SetPods tells the programs this node's pods by address, with the index of their device on the node's side: a packet
// that is lost inside a pod's namespace, without having been seen there, is attributed by that.
func (l *Loader) SetPods(pods map[netip.Addr]int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return errors.New("the loader is closed")
	}
	want := make(map[[16]byte]uint32, len(pods))
	for address, ifindex := range pods {
		want[address.As16()] = uint32(ifindex)
	}
	for key := range l.pods {
		if _, ok := want[key]; ok {
			continue
		}
		if err := l.objects.PodIPs.Delete(key); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
			return fmt.Errorf("update BPF map of pods: %w", err)
		}
		delete(l.pods, key)
	}
	for key, ifindex := range want {
		if l.pods[key] == ifindex {
			continue
		}
		if err := l.objects.PodIPs.Put(key, ifindex); errors.Is(err, unix.E2BIG) {
			return fmt.Errorf("update BPF map of pods: there are more addresses than the %d that it has room for", len(l.pods))
		} else if err != nil {
			return fmt.Errorf("update BPF map of pods: %w", err)
		}
		l.pods[key] = ifindex
	}
	return nil
}
