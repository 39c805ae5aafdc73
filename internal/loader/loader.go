// Package loader brings the BPF programs into the kernel, attaches them to the devices and tracepoints of the
// network namespace that it is called in, and reads what they send.
//
// New, SetDevices for each change, Run; Close removes everything. Nothing is attached before the first SetDevices.
package loader

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

// wakeupBytes wakes the reader when the ring is a quarter full; before that it looks by its timer.
const wakeupBytes = 512 << 10

// Options of a Loader.
type Options struct {
	// Dir holds lock and notes; RunDir if empty.
	Dir string
	// Kernel is what this Loader shares with others of the process; nil where there is none.
	Kernel *Kernel

	edit      func(*ebpf.CollectionSpec) // what a test changes of the programs
	attaching func(Hook)                 // what a test does before each attachment
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

	attaching func(Hook) // of Options

	undecoded, tornScans atomic.Uint64
	captures             atomic.Int32
	watched              watchedTable
	settings             sync.Mutex // guards a change of the programs' configuration

	own     sync.Mutex // guards ownBits, which are in the kernel's map
	ownBits [bpfobj.TracerTableOWN_ADDRESS_BITS / 64]uint64

	loading   sync.Mutex // held while hooks change, for seconds; taken before mu
	mu        sync.Mutex // guards what follows, and the hooks' programs; who has loading reads hooks without it
	closed    bool
	attached  map[Hook]io.Closer
	failed    map[Hook]error
	omitted   []Omission
	seen      map[int]time.Duration // when a device was first given to SetDevices
	made      map[int]ownQdisc      // devices with a clsact qdisc of ours
	tc        tcReader
	addresses map[[16]byte]bool // in the kernel's maps, as the next
	devices   deviceTable
	classes   deviceClasses
	pods      map[[16]byte]uint32
}

// New locks the calling thread's network namespace, sweeps what a tracer before us left there, and loads the programs that
// belong to no device. An error wraps ErrLocked where a tracer runs, os.ErrPermission where the caller may
// not; otherwise it says what the kernel lacks.
func New(opts Options) (_ *Loader, err error) {
	if opts.Dir == "" {
		opts.Dir = RunDir
	}
	l := &Loader{
		attaching: opts.attaching,
		attached:  map[Hook]io.Closer{}, failed: map[Hook]error{}, seen: map[int]time.Duration{},
		addresses: map[[16]byte]bool{}, devices: deviceTable{}, classes: deviceClasses{netdev.PodLabel: 0}, pods: map[[16]byte]uint32{},
	}
	defer func() {
		if err != nil {
			err = advise(errors.Join(err, l.Close()))
		}
	}()
	if opts.Kernel == nil {
		opts.Kernel = &Kernel{}
	}
	l.objects.types = &opts.Kernel.types
	if l.features, err = probeFeatures(l.objects.types); err != nil {
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
	if l.made, err = takeOver(l.files); err != nil {
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
	read := make(chan *functions, 1)
	go func() { read <- opts.Kernel.functions() }() // while the kernel verifies the programs
	if err := l.objects.load(opts.edit, hooks); err != nil {
		return err
	}
	l.symbols = newKernelSymbols(l.objects.types, <-read)
	var err error
	if l.reader, err = ringbuf.NewReader(l.objects.Records); err != nil {
		return fmt.Errorf("open the ring buffer: %w", err)
	}
	err = l.objects.Settings.Set(bpfobj.TracerConfig{
		Netns: uint32(l.files.Netns), SampleN: 1, Epoch: 1, WakeupBytes: wakeupBytes, IgnoredReasons: l.symbols.ignored(),
		IpsecSplit: l.symbols.ipsecSplit(),
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
	if l.objects.rest != nil {
		errs = append(errs, l.space.do(func() error {
			var errs []error
			for _, closer := range l.attached {
				errs = append(errs, closer.Close())
			}
			_, err := Sweep(l.files)
			return errors.Join(append(errs, err)...)
		}))
	}
	clear(l.attached)
	errs = append(errs, l.tc.Close())
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
