package agent

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/vishvananda/netns"

	"tracer/internal/device"
	"tracer/internal/loader"
	"tracer/internal/namespace"
	"tracer/internal/netdev"
)

const (
	// podQueueIdle is for how long nothing may come out of a pod's own qdisc before it is taken for gone.
	podQueueIdle = 30 * time.Second
	// maxPodEndNames bounds the names of pods' own ends: a pod may call its device what it likes, and they are labels of metrics.
	maxPodEndNames = 8
	// otherPodEnd is what those beyond are called.
	otherPodEnd = "_other"
	// maxReadPodEnds bounds the namespaces that are entered for one snapshot.
	maxReadPodEnds = 64
)

// podEnds are the pods' own ends of their devices where packets wait or are lost.
type podEnds struct {
	mu    sync.Mutex            // guards what follows
	met   map[int]loader.PodEnd // by the index of the pod's device on this side
	names []string              // that were met

	reading sync.Mutex // guards what follows
	files   device.NetnsFiles
}

// update takes what was met since the last update, forgets the ends of devices that are gone, and tells whether what
// devices have to say of their ends has changed.
func (p *podEnds) update(met map[int]loader.PodEnd, devices []netdev.Device, now time.Duration) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for ifindex := range p.met {
		if !slices.ContainsFunc(devices, func(d netdev.Device) bool { return d.Index == ifindex }) {
			delete(p.met, ifindex)
		}
	}
	for ifindex, end := range met {
		end.Name = p.label(end.Name)
		if before, ok := p.met[ifindex]; ok && before.Netns == end.Netns {
			end.Dequeued = max(end.Dequeued, before.Dequeued)
			end.Queues = before.Queues
		}
		if p.met == nil {
			p.met = map[int]loader.PodEnd{}
		}
		changed = changed || !sameEnd(p.met[ifindex].PodEnd, end.PodEnd)
		p.met[ifindex] = end
	}
	for ifindex, end := range p.met {
		if queues := end.Dequeued > 0 && now-end.Dequeued < podQueueIdle; queues != end.Queues {
			end.Queues = queues
			p.met[ifindex] = end
			changed = true
		}
	}
	return changed
}

// sameEnd compares what is read in the programs.
func sameEnd(a, b netdev.PodEnd) bool {
	return a.Name == b.Name && a.Netns == b.Netns && a.Ifindex == b.Ifindex && a.Root.Kind == b.Root.Kind
}

// label is a name, unless there are too many of them.
func (p *podEnds) label(name string) string {
	if slices.Contains(p.names, name) {
		return name
	}
	if len(p.names) >= maxPodEndNames {
		return otherPodEnd
	}
	p.names = append(p.names, name)
	return name
}

// of returns the devices with what is known of the pods' ends.
func (p *podEnds) of(devices []netdev.Device) []netdev.Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.met) == 0 {
		return devices
	}
	devices = slices.Clone(devices) // a state is nobody's to change
	for i := range devices {
		if end, ok := p.met[devices[i].Index]; ok {
			devices[i].PodEnd = &end.PodEnd // a copy of its own
		}
	}
	return devices
}

// read fills in the qdiscs of the devices' ends, which of() has made, as they are now: first of those out of which packets came
// last.
func (p *podEnds) read(devices []netdev.Device) []netdev.Device {
	dequeued := map[*netdev.PodEnd]time.Duration{}
	var ends []*netdev.PodEnd
	p.mu.Lock()
	for i := range devices {
		if end := devices[i].PodEnd; end != nil && end.Root.Queues() {
			ends = append(ends, end)
			dequeued[end] = p.met[devices[i].Index].Dequeued
		}
	}
	p.mu.Unlock()
	slices.SortFunc(ends, func(x, y *netdev.PodEnd) int { return cmp.Compare(dequeued[y], dequeued[x]) })
	most := min(maxReadPodEnds, len(ends))
	for _, end := range ends[most:] {
		end.Unread = "too many pods have a queue of their own"
	}
	p.reading.Lock()
	defer p.reading.Unlock()
	p.files.ReadPodEnds(ends[:most])
	return devices
}

// inPod does something on a thread in the network namespace of the pod behind a device, if that is known and can be entered.
func (a *Agent) inPod(ifindex int, do func() error) error {
	handle, err := a.openPodNetns(ifindex)
	if err != nil {
		return err
	}
	defer handle.Close()
	return namespace.Do(handle, do)
}

// openPodNetns opens the network namespace of the pod behind a device of that index. The caller closes it.
func (a *Agent) openPodNetns(ifindex int) (netns.NsHandle, error) {
	p := &a.podEnds
	p.mu.Lock()
	end, ok := p.met[ifindex]
	p.mu.Unlock()
	p.reading.Lock()
	defer p.reading.Unlock()
	if ok {
		return p.files.Open(end.Netns)
	}
	devices := a.watcher.State().Devices
	i := slices.IndexFunc(devices, func(d netdev.Device) bool { return d.Index == ifindex && d.PeerNetns != nil })
	if i < 0 {
		return netns.None(), device.ErrNoNetns
	}
	return p.files.OpenPeer(a.routeLookups.tables.NetnsID, *devices[i].PeerNetns)
}

// readPodEnds looks which pods' ends were met, and has the programs and the counts go by that.
func (a *Agent) readPodEnds() error {
	met, err := a.loader.TakePodEnds()
	state := a.watcher.State()
	if a.podEnds.update(met, state.Devices, loader.Monotonic()) {
		a.failures.devices.Done(a.setDevices())
	}
	return err
}
