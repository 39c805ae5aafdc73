package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"github.com/vishvananda/netlink"
)

// bpfObjects are programs, maps and links of the kernel, by their numbers.
type bpfObjects struct{ programs, maps, links map[uint32]bool }

func (o *bpfObjects) add(more bpfObjects) {
	for _, kind := range []struct {
		to   *map[uint32]bool
		from map[uint32]bool
	}{{&o.programs, more.programs}, {&o.maps, more.maps}, {&o.links, more.links}} {
		for id := range kind.from {
			if *kind.to == nil {
				*kind.to = map[uint32]bool{}
			}
			(*kind.to)[id] = true
		}
	}
}

// heldBy are those of which a process has descriptors.
func heldBy(pid int) bpfObjects {
	found := bpfObjects{map[uint32]bool{}, map[uint32]bool{}, map[uint32]bool{}}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
	for _, name := range files {
		info, err := os.ReadFile(name)
		if err != nil {
			continue // closed meanwhile
		}
		for line := range strings.Lines(string(info)) {
			key, value, _ := strings.Cut(line, ":")
			into := map[string]map[uint32]bool{"prog_id": found.programs, "map_id": found.maps, "link_id": found.links}[key]
			if id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32); err == nil && into != nil {
				into[uint32(id)] = true
			}
		}
	}
	return found
}

// present tells which of them the kernel still has.
func (o bpfObjects) present() (left []string) {
	for id := range o.programs {
		if p, err := ebpf.NewProgramFromID(ebpf.ProgramID(id)); err == nil {
			left = append(left, "program "+p.String())
			p.Close()
		}
	}
	for id := range o.maps {
		if m, err := ebpf.NewMapFromID(ebpf.MapID(id)); err == nil {
			left = append(left, "map "+m.String())
			m.Close()
		}
	}
	for id := range o.links {
		if l, err := link.NewFromID(link.ID(id)); err == nil {
			left = append(left, fmt.Sprint("link ", id))
			l.Close()
		}
	}
	return left
}

// stands tells whether all threads of a process are stopped, or it has ended.
func stands(pid int) bool {
	threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, name := range threads {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if state := string(stat[strings.LastIndexByte(string(stat), ')')+2:]); !strings.ContainsAny(state[:1], "TZX") {
			return false
		}
	}
	return true
}

// checkLeft looks at what a killed agent left before anybody sweeps: with TCX nothing in the kernel, and whole files.
func (k *killing) checkLeft(moment string) {
	k.Helper()
	k.checkState()
	if !k.tcx {
		k.checkGone(bpfObjects{links: k.left.links}, "right after a kill at "+moment)
		return // filters hold programs, and these maps, until the next start or cleanup
	}
	k.checkGone(k.left, "right after a kill at "+moment)
	if now := k.queuesAndFilters(); k.links == 0 && now != k.before {
		k.Errorf("a kill at %s leaves:\n%s\nbefore it was:\n%s", moment, now, k.before)
	}
	err := k.lab.Node(1).Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			for _, at := range []ebpf.AttachType{ebpf.AttachTCXIngress, ebpf.AttachTCXEgress} {
				found, err := link.QueryPrograms(link.QueryOptions{Target: l.Attrs().Index, Attach: at})
				if err != nil {
					return err
				}
				for _, p := range found.Programs {
					k.Errorf("a kill at %s leaves program %d on %s", moment, p.ID, l.Attrs().Name)
				}
			}
		}
		return nil
	})
	if err != nil {
		k.Fatal(err)
	}
}

// checkGone waits until the kernel has none of these objects: it frees them once no CPU runs them.
func (k *killing) checkGone(objects bpfObjects, when string) {
	k.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		left := objects.present()
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			k.Errorf("%s there are still %s", when, strings.Join(left, ", "))
			return
		}
	}
}

// checkClean runs cleanup, after which nothing may be there that was not before.
func (k *killing) checkClean() {
	k.Helper()
	command := tracer("cleanup", "--run-dir", k.run)
	var out []byte
	err := k.lab.Node(1).Do(func() (err error) {
		out, err = command.CombinedOutput()
		return err
	})
	if err != nil {
		k.Fatalf("cleanup: %v: %s", err, out)
	}
	k.removeDevices()
	k.checkGone(k.left, "after cleanup")
	k.left = bpfObjects{}
	if now := k.queuesAndFilters(); now != k.before {
		k.Errorf("after cleanup there are:\n%s\nbefore there were:\n%s\ncleanup said %s", now, k.before, out)
	}
	if files, err := os.ReadDir(k.run); err != nil || len(files) > 0 {
		k.Errorf("after cleanup there are files: %v, %v", files, err)
	}
	if pins, err := filepath.Glob("/sys/fs/bpf/*tracer*"); err != nil || len(pins) > 0 {
		k.Errorf("pinned: %v, %v", pins, err)
	}
}

// checkState: the names and what was learned are whole, and no more than one file of each is being written.
func (k *killing) checkState() {
	k.Helper()
	var names struct {
		Version int `json:"version"`
		Names   []struct {
			Address string `json:"address"`
		} `json:"names"`
	}
	switch text, err := os.ReadFile(filepath.Join(k.state, "identities.json")); {
	case errors.Is(err, os.ErrNotExist) && k.toEnd == 0: // nothing is saved yet
	case err != nil:
		k.Error(err)
	default:
		if err := json.Unmarshal(text, &names); err != nil || names.Version != 1 || len(names.Names) < len(k.lab.Pods()) {
			k.Errorf("%v: the saved names are %s", err, text)
		}
	}
	usual, err := os.ReadFile(filepath.Join(k.state, "usual.json"))
	if err != nil || !json.Valid(usual) || !strings.Contains(string(usual), `"device":"kept"`) {
		k.Errorf("%v: what was learned is %s", err, usual)
	}
	if files, err := os.ReadDir(k.state); err != nil || len(files) > 5 { // identities.json and what changed since, usual.json, and each whole one as it is written
		k.Errorf("files in the state directory pile up: %v, %v", files, err)
	}
}

// queuesAndFilters lists the node's, but for devices that come and go.
func (k *killing) queuesAndFilters() string {
	k.Helper()
	all := k.tc("qdisc", "show")
	for _, device := range append([]string{"eth0", k.lab.OverlayDevice()}, k.lab.Pods()[0].Device) {
		for _, direction := range []string{"ingress", "egress"} {
			all += k.tc("filter", "show", "dev", device, direction)
		}
	}
	return all
}

func (k *killing) tc(args ...string) string {
	k.Helper()
	args = append([]string{"-n", string(k.lab.Node(1).Netns)}, args...)
	out, err := exec.Command("tc", args...).CombinedOutput()
	if err != nil {
		k.Fatalf("tc %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
