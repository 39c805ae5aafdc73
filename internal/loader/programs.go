package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// objects are the programs in the kernel and their maps. A hook's program is loaded when the first hook needs it: a kernel that
// refuses one has the others all the same.
type objects struct {
	named
	table     table
	watchedAt uint32 // where the table of connections begins in table.variables
	edit      func(*ebpf.CollectionSpec)
	types     *btf.Cache           // the kernel's type information, decoded once for all that is loaded at the start; nil after that
	parsed    *ebpf.CollectionSpec // likewise, all programs
	shared    map[string]*ebpf.Map
	hooks     map[string]*ebpf.Program // by Hook.Program
	rest      *ebpf.Collection         // what is not among them
}

// named are those that are known by name.
type named struct {
	Records      *ebpf.Map      `ebpf:"tracer_records"`
	Counters     *ebpf.Map      `ebpf:"tracer_counters"`
	NodeIPs      *ebpf.Map      `ebpf:"tracer_node_ips"`
	PodIPs       *ebpf.Map      `ebpf:"tracer_pod_ips"`
	PodEnds      *ebpf.Map      `ebpf:"tracer_pod_ends"`
	Devices      *ebpf.Variable `ebpf:"devices"`
	OwnAddresses *ebpf.Variable `ebpf:"own_addresses"`
	Settings     *ebpf.Variable `ebpf:"settings"`
	Listener     *ebpf.Program  `ebpf:"tracer_listener"`
	Held         *ebpf.Program  `ebpf:"tracer_held"`
}

// kernelNames are the names of the hooks' programs in the kernel, where 15 characters are all there is, by the names that
// metrics and JSON give them.
var kernelNames = map[string]string{
	"ingress":      bpfobj.TracerProgTracerIngress,
	"egress":       bpfobj.TracerProgTracerEgress,
	"dequeue":      bpfobj.TracerProgTracerDequeue,
	"start_xmit":   bpfobj.TracerProgTracerXmit,
	"free_skb":     bpfobj.TracerProgTracerKfree,
	"consume":      bpfobj.TracerProgTracerConsume,
	"tcp_received": bpfobj.TracerProgTracerTcpRcv,
	"tcp_resent":   bpfobj.TracerProgTracerTcpRtx,
	"pod_queue":    bpfobj.TracerProgTracerPodqueue,
}

// The variables of the programs, which are maps in the kernel, by the names of their sections.
const (
	inflightSection = ".bss"
	settingsSection = ".data.settings"
	devicesSection  = ".data.devices"
	ownSection      = ".data.own"
	captureSection  = ".rodata.capture"
)

// load makes the maps, and loads what is no hook's program and those of the hooks.
func (o *objects) load(edit func(*ebpf.CollectionSpec), hooks []Hook) error {
	o.edit = edit
	programs := o.missing(hooks)
	c, err := o.collection(append(inKernel(programs), bpfobj.TracerProgTracerListener, bpfobj.TracerProgTracerHeld))
	if err != nil {
		return err
	}
	o.rest, o.shared, o.hooks = c, maps.Clone(c.Maps), detach(c, programs)
	o.table.variables, o.table.journeys = c.Maps[inflightSection], c.Maps[bpfobj.TracerMapTracerJourneys]
	err = c.Assign(&o.named)
	clear(c.Variables) // or their memory stays mapped
	return err
}

// missing are the programs of hooks that are not loaded yet.
func (o *objects) missing(hooks []Hook) (programs []string) {
	for _, h := range hooks {
		if o.hooks[h.Program] == nil && !slices.Contains(programs, h.Program) {
			programs = append(programs, h.Program)
		}
	}
	return programs
}

func inKernel(programs []string) (names []string) {
	for _, p := range programs {
		names = append(names, kernelNames[p])
	}
	return names
}

// loadMore loads programs beside those that are there; where one is refused, the others all the same.
func (o *objects) loadMore(programs []string) (loaded map[string]*ebpf.Program, refused map[string]error) {
	loaded, refused = map[string]*ebpf.Program{}, map[string]error{}
	if len(programs) == 0 {
		return loaded, refused
	}
	c, err := o.collection(inKernel(programs))
	switch {
	case err == nil:
		defer c.Close()
		return detach(c, programs), refused
	case len(programs) == 1:
		refused[programs[0]] = err
		return loaded, refused
	}
	for _, program := range programs {
		one, errs := o.loadMore([]string{program})
		maps.Copy(loaded, one)
		maps.Copy(refused, errs)
	}
	return loaded, refused
}

func detach(c *ebpf.Collection, programs []string) map[string]*ebpf.Program {
	detached := map[string]*ebpf.Program{}
	for _, program := range programs {
		detached[program] = c.DetachProgram(kernelNames[program])
	}
	return detached
}

// collection loads some programs, by their names in the kernel, over the maps that are there already.
func (o *objects) collection(names []string) (*ebpf.Collection, error) {
	if o.parsed == nil {
		var err error
		if o.parsed, err = parse(); err != nil {
			return nil, err
		}
	}
	spec := o.spec(o.parsed.Copy(), names)
	// They belong to the programs that read headers.
	delete(spec.Maps, bpfobj.TracerMapTracerCaptured)
	delete(spec.Maps, captureSection)
	delete(spec.Variables, bpfobj.TracerVarCaptureSlowerNs)
	if o.shared == nil { // it is the same for all
		o.table.slotsAt = spec.Variables[bpfobj.TracerVarInflight].Offset
		o.watchedAt = spec.Variables[bpfobj.TracerVarWatchedTable].Offset
	}
	return o.loadSpec(spec, o.types)
}

// capturing loads programs that read headers, likewise, with a ring buffer of their own.
func (o *objects) capturing(names []string, slowerThan time.Duration) (*ebpf.Collection, error) {
	all, err := parse()
	if err != nil {
		return nil, err
	}
	spec := o.spec(all, names)
	spec.Maps[captureSection].Name = "tracer_capture"
	if err := spec.Variables[bpfobj.TracerVarCaptureSlowerNs].Set(uint64(slowerThan)); err != nil {
		return nil, fmt.Errorf("configure the BPF programs that read headers: %w", err)
	}
	return o.loadSpec(spec, nil)
}

// startIsOver forgets what is rarely needed again, some megabytes.
func (o *objects) startIsOver() { o.types, o.parsed = nil, nil }

// parse reads all programs out of what was compiled.
func parse() (*ebpf.CollectionSpec, error) {
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		return nil, fmt.Errorf("read the embedded BPF objects: %w", err)
	}
	return spec, nil
}

// spec is that of some programs of all.
func (o *objects) spec(spec *ebpf.CollectionSpec, names []string) *ebpf.CollectionSpec {
	if o.edit != nil {
		o.edit(spec)
	}
	for section, name := range map[string]string{
		inflightSection: "tracer_inflight", settingsSection: "tracer_settings", devicesSection: "tracer_devices",
		ownSection: "tracer_own",
	} {
		spec.Maps[section].Name = name
		spec.Maps[section].Flags |= unix.BPF_F_MMAPABLE // which only what is named as a section gets by itself
	}
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(names, name) })
	return spec
}

func (o *objects) loadSpec(spec *ebpf.CollectionSpec, types *btf.Cache) (*ebpf.Collection, error) {
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: o.shared, Cache: types})
	if err != nil {
		return nil, fmt.Errorf("load the BPF programs: %w", err)
	}
	return c, nil
}

// Close lets go of the programs and maps. The kernel keeps those that are still attached.
func (o *objects) Close() error {
	if o.rest == nil {
		return nil
	}
	errs := []error{
		o.Records.Close(), o.Counters.Close(), o.NodeIPs.Close(), o.PodIPs.Close(), o.PodEnds.Close(), o.Listener.Close(), o.Held.Close(),
	}
	for _, program := range o.hooks {
		errs = append(errs, program.Close())
	}
	o.rest.Close()
	return errors.Join(errs...)
}
