package loader

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cilium/ebpf"

	"tracer/internal/bpfobj"
)

// objects are the programs in the kernel and their maps. A hook's program is loaded when the first hook needs it: the
// kernel takes a tenth of a second to verify one, and a node seldom has devices of more than two or three kinds.
type objects struct {
	named
	table  table
	edit   func(*ebpf.CollectionSpec)
	shared map[string]*ebpf.Map
	hooks  map[string]*ebpf.Program // by name
	rest   *ebpf.Collection         // what is not among them
}

// named are those that are known by name.
type named struct {
	bpfobj.TracerMaps
	Settings *ebpf.Variable `ebpf:"settings"`
	Listener *ebpf.Program  `ebpf:"listener"`
}

// load makes the maps, and loads what is no hook's program and those of the hooks.
func (o *objects) load(edit func(*ebpf.CollectionSpec), hooks []Hook) error {
	o.edit = edit
	names := o.missing(hooks)
	c, err := o.collection(append(names, bpfobj.TracerProgListener))
	if err != nil {
		return err
	}
	o.rest, o.shared, o.hooks = c, maps.Clone(c.Maps), detach(c, names)
	o.table.variables, o.table.journeys = c.Maps[".bss"], c.Maps[bpfobj.TracerMapFollowed]
	err = c.Assign(&o.named)
	clear(c.Variables) // or their memory stays mapped
	return err
}

// missing are the programs of hooks that are not loaded yet.
func (o *objects) missing(hooks []Hook) (names []string) {
	for _, h := range hooks {
		if o.hooks[h.Program] == nil && !slices.Contains(names, h.Program) {
			names = append(names, h.Program)
		}
	}
	return names
}

// more loads programs beside those that are there; where one is refused, the others all the same.
func (o *objects) more(names []string) (loaded map[string]*ebpf.Program, refused map[string]error) {
	loaded, refused = map[string]*ebpf.Program{}, map[string]error{}
	if len(names) == 0 {
		return loaded, refused
	}
	c, err := o.collection(names)
	switch {
	case err == nil:
		defer c.Close()
		return detach(c, names), refused
	case len(names) == 1:
		refused[names[0]] = err
		return loaded, refused
	}
	for _, name := range names {
		one, errs := o.more([]string{name})
		maps.Copy(loaded, one)
		maps.Copy(refused, errs)
	}
	return loaded, refused
}

func detach(c *ebpf.Collection, names []string) map[string]*ebpf.Program {
	programs := map[string]*ebpf.Program{}
	for _, name := range names {
		programs[name] = c.DetachProgram(name)
	}
	return programs
}

// collection loads some programs, over the maps that are there already.
func (o *objects) collection(names []string) (*ebpf.Collection, error) {
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		return nil, fmt.Errorf("read the programs: %w", err)
	}
	if o.edit != nil {
		o.edit(spec)
	}
	o.table.marksAt = spec.Variables[bpfobj.TracerVarInflight].Offset
	maps.DeleteFunc(spec.Programs, func(name string, _ *ebpf.ProgramSpec) bool { return !slices.Contains(names, name) })
	c, err := ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: o.shared})
	if err != nil {
		return nil, fmt.Errorf("load the programs: %w", err)
	}
	return c, nil
}

// Close lets go of the programs and maps. The kernel keeps those that are still attached.
func (o *objects) Close() error {
	if o.rest == nil {
		return nil
	}
	errs := []error{o.TracerMaps.Close(), o.Listener.Close()}
	for _, program := range o.hooks {
		errs = append(errs, program.Close())
	}
	o.rest.Close()
	return errors.Join(errs...)
}
