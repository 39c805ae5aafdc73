// Package loader brings the BPF programs into the kernel, attaches them to the devices and tracepoints of the
// network namespace that it is called in, and reads what they send.
package loader

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// wakeupBytes wakes the reader when the ring is a quarter full; before that it looks by its timer.
const wakeupBytes = 512 << 10

// Options of a Loader.
type Options struct {
	// Dir holds lock and notes; RunDir if empty.
	Dir string

	edit func(*ebpf.CollectionSpec) // what a test changes of the programs
}

// Loader holds the programs, what they are attached to, and the namespace's lock. SetDevices, Run and the others
// may be called at the same time.
type Loader struct {
	features Features
	files    Files
	space    *namespace
	lock     *Lock
	objects  objects
	symbols  *kernelSymbols
	reader   *ringbuf.Reader

	undecoded, tornScans atomic.Uint64
	settings             sync.Mutex // guards a change of the programs' configuration

	loading   sync.Mutex // held while hooks change; taken before mu
	mu        sync.Mutex // guards what follows, and the hooks' programs
	closed    bool
	attached  map[Hook]io.Closer
	failed    map[Hook]error
	omitted   []Omission
	seen      map[int]time.Duration // when a device was first given to SetDevices
	made      map[int]string        // devices with a clsact qdisc of ours
	addresses map[[16]byte]bool     // in the kernel's maps, as the next
	splitting map[uint32]bool
	pods      map[[16]byte]uint32
}

// New locks the calling thread's network namespace, sweeps what a tracer before us left there, and loads the programs that
// belong to no device. An error wraps ErrLocked where a tracer runs, ErrUnsupported where the kernel cannot,
// os.ErrPermission where the caller may not.
func New(opts Options) (_ *Loader, err error) {
	if opts.Dir == "" {
		opts.Dir = RunDir
	}
	l := &Loader{
		attached: map[Hook]io.Closer{}, failed: map[Hook]error{}, seen: map[int]time.Duration{},
		made: map[int]string{}, addresses: map[[16]byte]bool{}, splitting: map[uint32]bool{}, pods: map[[16]byte]uint32{},
	}
	defer func() {
		if err != nil {
			err = advise(errors.Join(err, l.Close()))
		}
	}()
	if l.features, err = ProbeFeatures(); err != nil {
		return nil, err
	}
	if l.files, err = CurrentFiles(opts.Dir); err != nil {
		return nil, err
	}
	if l.lock, err = l.files.Lock(); err != nil {
		return nil, err
	}
	if l.space, err = currentNamespace(); err != nil {
		return nil, err
	}
	if _, err = Sweep(l.files); err != nil {
		return nil, fmt.Errorf("sweep what an earlier tracer left behind: %w", err)
	}
	// Devices come with SetDevices; a kernel that lacks what everything needs is refused here.
	plan, err := PlanHooks(l.features, nil, nil)
	if err != nil {
		return nil, err
	}
	if err = l.load(opts, plan.Hooks); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *Loader) load(opts Options, hooks []Hook) error {
	// Before 5.11 maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	if err := l.objects.load(opts.edit, hooks); err != nil {
		return err
	}
	l.symbols = newKernelSymbols()
	var err error
	if l.reader, err = ringbuf.NewReader(l.objects.Records); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	err = l.objects.Settings.Set(bpfobj.TracerConfig{
		Netns: uint32(l.files.Netns), SampleN: 1, Epoch: 1, WakeupBytes: wakeupBytes, QuietReasons: l.symbols.quiet(),
	})
	if err != nil {
		return fmt.Errorf("configure the programs: %w", err)
	}
	return nil
}

// Features are those of the running kernel.
func (l *Loader) Features() Features { return l.features }

// Files are the namespace's.
func (l *Loader) Files() Files { return l.files }

// SetDevices makes the attachments those that PlanHooks wants for these devices, and tells the programs the tunnels'
// ports, the qdiscs that split, and the namespace's own addresses. Devices come and go while this runs: a hook that fails
// is reported by Hooks and tried again the next time. Nothing is attached before the first call: what drops see would have
// no place. There it is an error if a hook fails that is no device's.
func (l *Loader) SetDevices(devices []netdev.Device, addresses []netip.Addr) error {
	l.loading.Lock()
	defer l.loading.Unlock()
	plan, err := l.plan(devices, addresses)
	if err != nil {
		return err
	}
	// That takes a while, in which others ask for what is there.
	loaded, refused := l.objects.more(l.objects.missing(plan.Hooks))
	l.mu.Lock()
	defer l.mu.Unlock()
	maps.Copy(l.objects.hooks, loaded)
	first := len(l.attached) == 0
	errs := []error{l.apply(plan, refused)}
	for h, err := range l.failed {
		if first && h.Ifindex == 0 {
			errs = append(errs, err)
		}
	}
	return advise(errors.Join(errs...))
}

// advise says what to do about an error.
func advise(err error) error {
	if isPermission(err) {
		return fmt.Errorf("%w; run it as root, in Kubernetes in a privileged container", err)
	}
	return err
}

// plan is PlanHooks' for these devices, which the programs are told of.
func (l *Loader) plan(devices []netdev.Device, addresses []netip.Addr) (Plan, error) {
	now := Monotonic()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return Plan{}, errors.New("the loader is closed")
	}
	first := len(l.seen) == 0
	present := make(map[int]bool, len(devices))
	for _, d := range devices {
		present[d.Index] = true
		if _, ok := l.seen[d.Index]; !ok {
			l.seen[d.Index] = now
			if first {
				// Here before us: its set-up is long over.
				l.seen[d.Index] = now - Settle
			}
		}
	}
	maps.DeleteFunc(l.seen, func(ifindex int, _ time.Duration) bool { return !present[ifindex] })
	plan, err := PlanHooks(l.features, devices, func(ifindex int) time.Duration { return now - l.seen[ifindex] })
	if err != nil {
		return Plan{}, err
	}
	return plan, l.configure(devices, addresses)
}

// configure tells the programs what they cannot see for themselves.
func (l *Loader) configure(devices []netdev.Device, addresses []netip.Addr) error {
	// A full map leaves journeys to some addresses without an end, counted as vanished.
	addressSet := make(map[[16]byte]bool, len(addresses))
	for _, a := range addresses {
		addressSet[a.As16()] = true
	}
	if err := setKeys(l.objects.LocalAddresses, l.addresses, addressSet); err != nil {
		return fmt.Errorf("tell the programs this node's addresses: %w", err)
	}
	// Or leaves packets that a qdisc splits untimed there, counted as split.
	splitting := map[uint32]bool{}
	for _, d := range devices {
		if d.Root.Splits() {
			splitting[uint32(d.Index)] = true
		}
	}
	if err := setKeys(l.objects.Splitting, l.splitting, splitting); err != nil {
		return fmt.Errorf("tell the programs which qdiscs split packets: %w", err)
	}
	return l.change(func(c *bpfobj.TracerConfig) {
		c.VxlanPort, c.GenevePort = tunnelPorts(devices, "vxlan"), tunnelPorts(devices, "geneve")
		c.Splitting = uint32(len(l.splitting))
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

// Sample begins an epoch of sampling: each flow may start budget journeys in it, and of the packets beyond that one in
// n is followed, at random; with n of 0 or 1 every packet is. Without further calls the budgets are used up.
func (l *Loader) Sample(n, budget uint32) error {
	return l.change(func(c *bpfobj.TracerConfig) {
		c.SampleN, c.FlowBudget, c.Salt = n, budget, rand.Uint64()
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

// apply attaches what the plan has and we have not, but for programs that were refused, and detaches what we have and it
// has not.
func (l *Loader) apply(plan Plan, refused map[string]error) error {
	return l.space.do(func() error {
		l.omitted = plan.Omitted
		clear(l.failed)
		want := make(map[Hook]bool, len(plan.Hooks))
		for _, h := range plan.Hooks {
			want[h] = true
		}
		var errs []error
		for h, closer := range l.attached {
			if !want[h] {
				errs = append(errs, closer.Close())
				delete(l.attached, h)
			}
		}
		for _, h := range plan.Hooks {
			if l.attached[h] != nil {
				continue
			}
			if err := refused[h.Program]; err != nil {
				l.failed[h] = err
				continue
			}
			closer, err := l.attach(h)
			if err != nil {
				l.failed[h] = err
				continue
			}
			l.attached[h] = closer
		}
		return errors.Join(errs...)
	})
}

func (l *Loader) attach(h Hook) (io.Closer, error) {
	program := l.objects.hooks[h.Program]
	if h.Ifindex == 0 {
		return attachTracepoint(h, program)
	}
	if l.features.TCX {
		return attachTCX(h, program)
	}
	return attachFilter(h, program, func() error {
		l.made[h.Ifindex] = h.Device
		return l.files.setQdiscs(l.made)
	})
}

// HookStatus is a hook of the plan and how it stands.
type HookStatus struct {
	Hook
	Up    bool   `json:"up"`
	Error string `json:"error,omitempty"`
}

// Hooks are those of the last plan, and what it leaves out.
func (l *Loader) Hooks() ([]HookStatus, []Omission) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var hooks []HookStatus
	for h := range l.attached {
		hooks = append(hooks, HookStatus{Hook: h, Up: true})
	}
	for h, err := range l.failed {
		hooks = append(hooks, HookStatus{Hook: h, Error: err.Error()})
	}
	slices.SortFunc(hooks, func(a, b HookStatus) int {
		if a.Ifindex != b.Ifindex {
			return a.Ifindex - b.Ifindex
		}
		return slices.Compare([]string{a.Name, a.Program}, []string{b.Name, b.Program})
	})
	return hooks, slices.Clone(l.omitted)
}

// Open reads the journeys that have not ended yet. now is the time of the read, as for all times in records.
func (l *Loader) Open() (open []record.Record, now time.Duration, err error) {
	now = Monotonic()
	open, torn, err := l.objects.table.scan(now)
	l.tornScans.Add(uint64(torn))
	return open, now, err
}

// Close detaches everything and ends Run. First the hooks, device by device, so that nothing begins; then the
// qdiscs that we made, now that no filter of ours is on them; then programs and maps; the lock last, so that the
// next tracer meets a clean namespace.
func (l *Loader) Close() error {
	l.loading.Lock()
	defer l.loading.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed = true
	var errs []error
	for _, closer := range l.attached {
		errs = append(errs, closer.Close())
	}
	clear(l.attached)
	if l.objects.rest != nil {
		errs = append(errs, l.space.do(func() error {
			_, err := Sweep(l.files)
			return err
		}))
	}
	if l.reader != nil {
		errs = append(errs, l.reader.Close())
	}
	errs = append(errs, l.objects.Close())
	if l.space != nil {
		errs = append(errs, l.space.Close())
	}
	if l.lock != nil {
		errs = append(errs, l.lock.Close())
	}
	return errors.Join(errs...)
}
