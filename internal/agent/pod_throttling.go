package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
	"tracer/internal/netstat"
	"tracer/internal/record"
)

const (
	// throttlingFor is for how long pods' CPU limits are looked at since an application was found to be slow, and for how long a reading is
	// compared with later ones.
	throttlingFor = time.Minute
	// processesEvery is how often it is looked for the processes of such pods.
	processesEvery = 30 * time.Second
)

// podThrottling looks at the CPU limits of pods whose application was found to be slow. At rest it reads nothing.
type podThrottling struct {
	mu        sync.Mutex
	until     map[string]time.Time // by workload
	processes map[int][]string     // by the id of their network namespace
	looked    time.Time
	first     map[int]throttlingAt // by the index of the pod's device
}

// throttlingAt is a reading.
type throttlingAt struct {
	at time.Time
	record.Throttling
}

// watch looks at the pods that findings call slow from now on.
func (t *podThrottling) watch(found []diagnose.Finding, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range found {
		f := &found[i]
		if !slices.Contains([]diagnose.Cause{diagnose.ReceiverSlow, diagnose.ServerSlow, diagnose.RequestsUnanswered, diagnose.AcceptQueueFull}, f.Cause) {
			continue
		}
		if t.until == nil {
			t.until = map[string]time.Time{}
		}
		for _, p := range f.Pairs {
			t.until[p.Dst] = now.Add(throttlingFor)
		}
	}
}

// read reads how the limits of those among the devices' pods hold them back. processes finds those of network namespaces.
func (t *podThrottling) read(devices []netdev.Device, now time.Time, processes func([]int) (map[int][]string, error)) (list []diagnose.PodThrottling, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var slow []*netdev.Device
	var ids []int
	for i := range devices {
		if d := &devices[i]; d.Role == netdev.RolePod && d.PeerNetns != nil && now.Before(t.until[d.Workload]) {
			slow = append(slow, d)
			ids = append(ids, *d.PeerNetns)
		}
	}
	if len(slow) == 0 {
		t.until, t.processes, t.first = nil, nil, nil
		return nil, nil
	}
	missing := slices.ContainsFunc(ids, func(id int) bool { return len(t.processes[id]) == 0 })
	if now.Sub(t.looked) >= processesEvery || missing && now.Sub(t.looked) >= snapshotEvery {
		t.looked = now
		if t.processes, err = processes(ids); err != nil {
			return nil, err
		}
	}
	for _, d := range slow {
		read := throttlingAt{now, netstat.Throttling(t.processes[*d.PeerNetns])}
		first, ok := t.first[d.Index]
		if !ok || now.Sub(first.at) > throttlingFor {
			if t.first == nil {
				t.first = map[int]throttlingAt{}
			}
			t.first[d.Index] = read
		}
		if ok {
			list = append(list, diagnose.PodThrottling{
				Workload: d.Workload, Seconds: now.Sub(first.at).Seconds(), Throttling: read.Since(first.Throttling),
			})
		}
	}
	return list, nil
}

// throttling is that of pods whose application was found to be slow.
func (a *Agent) throttling(devices []netdev.Device) []diagnose.PodThrottling {
	list, err := a.podThrottling.read(devices, time.Now(), a.watcher.Processes)
	a.failures.throttling.Done(err)
	return list
}
