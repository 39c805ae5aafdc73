// Package lab builds a small Kubernetes-like cluster out of network namespaces on one machine: nodes with an
// overlay as Calico makes it, pods, a Service, and an application under steady load that knows how long each
// of its packets took. Faults can be put onto its devices and taken away again. It writes only into namespaces
// that it made.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"
)

// Lab is a lab that is up. Its methods may be called from several goroutines, and from several processes.
type Lab struct {
	runDir, dir string

	mu    sync.Mutex // guards what follows
	st    *state
	local *localApp // nil where the application has its own processes, or another process runs it
}

// Up builds a lab and starts its application. It returns once calls are answered; whatever goes wrong until
// then, or the end of ctx, leaves nothing behind.
func Up(ctx context.Context, o Options) (*Lab, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return nil, errors.New("a lab is made of network namespaces, for which you must be root: run it with sudo")
	}
	dir := labDir(o.RunDir, o.Name)
	if err := makeDir(dir); errors.Is(err, fs.ErrExist) {
		return nil, alreadyUp(dir, o.Name)
	} else if err != nil {
		return nil, err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return nil, errors.Join(err, removeDir(dir))
	}
	defer unlock()
	l := &Lab{runDir: o.RunDir, dir: dir, st: &state{
		topology: newTopology(o), Created: time.Now(), InProcess: len(o.App) == 0,
	}}
	for _, ns := range l.st.namespaces() {
		if ns.exists() {
			err := fmt.Errorf("network namespace %s exists already: `%s` removes it if a lab left it behind, else choose another --name",
				ns, command("down", o.Name))
			return nil, errors.Join(err, removeDir(dir))
		}
	}
	if err := l.build(ctx, o.App); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", o.Name, err), l.stopLocal(), l.remove())
	}
	return l, nil
}

func alreadyUp(dir, name string) error {
	st, err := readState(dir)
	if err == nil && st.Ready {
		return fmt.Errorf("lab %q is up already, since %s: see `%s`, or take it down with `%s`",
			name, st.Created.Format(time.DateTime), command("status", name), command("down", name))
	}
	return fmt.Errorf("lab %q is being built, or was left behind half-built: remove it with `%s`", name, command("down", name))
}

// build makes everything, in the order in which one thing needs the other, and gives up when ctx ends.
func (l *Lab) build(ctx context.Context, app []string) error {
	t := &l.st.topology
	if err := l.st.write(l.dir); err != nil {
		return err
	}
	steps := []func() error{}
	for _, ns := range t.namespaces() {
		if node := t.node(t.Machine); node != nil && node.Netns == ns {
			steps = append(steps, ns.adopt)
		} else {
			steps = append(steps, ns.create)
		}
	}
	steps = append(steps, t.chooseOverlay)
	for _, node := range t.nodesHere() {
		steps = append(steps, func() error { return node.Netns.setSysctls(everyNamespace) })
	}
	if t.Machine == "" {
		steps = append(steps, t.makeWire)
	}
	for _, node := range t.nodesHere() {
		steps = append(steps,
			func() error { return t.makeNode(node) },
			func() error { return t.makeOverlay(node) },
			func() error { return t.makeService(node) })
	}
	for _, pod := range t.podsHere() {
		steps = append(steps, func() error { return t.makePod(pod) })
	}
	if t.HostRouting {
		for _, node := range t.Nodes {
			steps = append(steps, func() error { return t.routeInBPF(node) })
		}
	}
	steps = append(steps,
		l.writeIdentities,
		func() error { return l.startApp(ctx, app) },
		func() error { l.st.Ready = true; return l.st.write(l.dir) })
	for _, step := range steps {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (l *Lab) writeIdentities() error {
	for i := range l.st.Nodes {
		node := &l.st.Nodes[i]
		if !l.st.here(node.Name) {
			continue
		}
		inode, err := node.Netns.inode()
		if err != nil {
			return err
		}
		node.IdentityFile = identityFile(l.runDir, inode)
	}
	if err := l.st.write(l.dir); err != nil {
		return err
	}
	return l.st.writeIdentities()
}

// Open returns a lab that is up, be it another process's.
func Open(runDir, name string) (*Lab, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	dir := labDir(runDir, name)
	st, err := readState(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, notUp(name)
	case err != nil:
		return nil, err
	case !st.Ready:
		return nil, alreadyUp(dir, name)
	}
	return &Lab{runDir: runDir, dir: dir, st: st}, nil
}

// Down stops the application and removes the lab.
func (l *Lab) Down() error {
	err := l.stopLocal()
	return errors.Join(err, Remove(l.runDir, l.st.Name))
}

func (l *Lab) stopLocal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.local == nil {
		return nil
	}
	err := l.local.stop()
	l.local = nil
	return err
}

// Remove removes a lab, whole or half-built, by what its state says and by its name.
func Remove(runDir, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	dir := labDir(runDir, name)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		left, err := markedNamespaces(name)
		if err != nil {
			return err
		}
		if len(left) == 0 {
			return notUp(name)
		}
		return removeNamespaces(left)
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	st, err := readState(dir)
	if err != nil {
		st = &state{topology: topology{Name: name}} // lost: the namespaces' marks are left
	}
	l := &Lab{runDir: runDir, dir: dir, st: st}
	return l.remove()
}

// remove needs the lock. It goes on where one thing cannot be removed, and leaves the state for another try.
func (l *Lab) remove() error {
	var errs []error
	for _, p := range l.st.Processes {
		errs = append(errs, p.stop(2*time.Second))
	}
	all, err := markedNamespaces(l.st.Name)
	errs = append(errs, err)
	if l.st.Wire != "" {
		all = append(all, l.st.namespaces()...)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	for _, ns := range all {
		if inode, err := ns.inode(); err == nil {
			err := os.Remove(identityFile(l.runDir, inode))
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				errs = append(errs, fmt.Errorf("remove identities: %w", err))
			}
		}
	}
	errs = append(errs, l.st.leave(), removeNamespaces(all))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return removeDir(l.dir)
}

func removeNamespaces(all []Namespace) error {
	var errs []error
	for _, ns := range all {
		errs = append(errs, ns.remove())
	}
	return errors.Join(errs...)
}

// Name is the lab's name.
func (l *Lab) Name() string { return l.st.Name }

// Dir is where the lab keeps its state and its logs; package load names those.
func (l *Lab) Dir() string { return l.dir }

// Nodes are the lab's nodes; web runs on the first and api on the second.
func (l *Lab) Nodes() []Node { return slices.Clone(l.st.Nodes) }

// Node returns the node with the number i, which counts from 1 as the nodes' names do.
func (l *Lab) Node(i int) Node { return l.st.Nodes[i-1] }

// Pods are all pods.
func (l *Lab) Pods() []Pod { return slices.Clone(l.st.Pods) }

// Pod returns the pod of a workload, and whether there is one.
func (l *Lab) Pod(name string) (Pod, bool) {
	if p := l.st.pod(name); p != nil {
		return *p, true
	}
	return Pod{}, false
}

// Service is the virtual address that web calls.
func (l *Lab) Service() Service { return l.st.Service }

// Overlay is IPIP, VXLAN or WireGuard.
func (l *Lab) Overlay() string { return l.st.Overlay }

// OverlayDevice is the name of the overlay's device on each node.
func (l *Lab) OverlayDevice() string { return l.st.overlayDevice() }
