package loader

import (
	"sync"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"

	"tracer/internal/netdev"
)

// TestRenamedStays: the programs of a device that is renamed stay attached, and are called by its new name.
func TestRenamedStays(t *testing.T) {
	inNamespace(t)
	l := newLoader(t, t.TempDir())
	d := addVeth(t, "eth0", netdev.RoleUplink)
	must(t, l.SetDevices([]netdev.Device{d}, nil))
	links := func() (ids []link.ID) {
		if !l.Features().TCX {
			return nil // a filter has no number of its own
		}
		for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
			found, err := link.QueryPrograms(link.QueryOptions{Target: d.Index, Attach: at})
			must(t, err)
			for _, p := range found.Programs {
				id, _ := p.LinkID()
				ids = append(ids, id)
			}
		}
		return ids
	}
	before := links()
	d.Name = "ens5"
	must(t, l.SetDevices([]netdev.Device{d}, nil))
	for i, id := range links() {
		if id != before[i] {
			t.Errorf("link %d is in the place of %d", id, before[i])
		}
	}
	up := 0
	hooks, _ := l.Hooks()
	for _, h := range hooks {
		if h.Ifindex != 0 && h.Device == "ens5" && h.Up {
			up++
		}
	}
	if up != 2 || len(hooks) != len(l.attached) {
		t.Errorf("%+v", hooks)
	}
}

// TestAttachingLetsOthers: while hooks are attached, which takes the kernel seconds where many pods start at once, the others are served.
func TestAttachingLetsOthers(t *testing.T) {
	inNamespace(t)
	attaching, goOn := make(chan struct{}), make(chan struct{})
	letGo := sync.OnceFunc(func() { close(goOn) }) // also where the test fails
	l, err := New(Options{Dir: t.TempDir(), Kernel: &ofAllTests, edit: standIns, attaching: func(h Hook) {
		if h.Ifindex != 0 && h.Name == "egress" {
			attaching <- struct{}{}
			<-goOn
		}
	}})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	t.Cleanup(letGo) // before it closes
	devices := []netdev.Device{addVeth(t, "eth0", netdev.RoleUplink)}
	set := make(chan error)
	go func() { set <- l.SetDevices(devices, nil) }()
	<-attaching
	served := make(chan error)
	go func() {
		hooks, _ := l.Hooks()
		_, err := l.Coverage()
		if err == nil {
			_, err = l.Programs()
		}
		if err == nil {
			err = l.SetPods(nil)
		}
		if len(hooks) == 0 {
			t.Error("the hooks that are attached are not among Hooks")
		}
		served <- err
	}()
	select {
	case err := <-served:
		must(t, err)
	case <-time.After(time.Minute):
		t.Error("nobody is served while hooks are attached")
	}
	letGo()
	must(t, <-set)
}
