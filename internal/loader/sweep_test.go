package loader

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"tracer/internal/netdev"
)

// TestKilledAtMaking leaves a clsact qdisc as a tracer does that is killed at some point of making it.
func TestKilledAtMaking(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	for i, test := range []struct {
		note            string // in the file, of the device
		qdisc, marked   bool
		foreign, remain bool
	}{
		{note: `{"device":"x","marked":false}`},
		{note: `{"device":"x","marked":false}`, qdisc: true},
		{note: `{"device":"x","marked":false}`, qdisc: true, marked: true},
		{note: `{"device":"x","marked":true}`, qdisc: true, marked: true},
		{note: `"x"`, qdisc: true, marked: true}, // of an earlier version
		{note: `"x"`, qdisc: true, remain: true},
		{note: `{"device":"x","marked":false}`, qdisc: true, foreign: true, remain: true},
		{note: `{"device":"x","marked":true}`, qdisc: true, remain: true}, // made by others after ours was deleted
		{note: `{"device":"x","marked":true}`, qdisc: true, marked: true, foreign: true, remain: true},
	} {
		d := addVeth(t, fmt.Sprintf("cali%d", i), netdev.RolePod)
		files, err := CurrentFiles(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		note := fmt.Sprintf(`{"%d":%s}`, d.Index, test.note)
		for _, suffix := range []string{".qdiscs.json", ".qdiscs.json.new"} { // the latter of one that was killed as it wrote
			if err := os.WriteFile(files.path(suffix), []byte(note), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var errs []error
		if test.qdisc {
			errs = append(errs, netlink.QdiscAdd(clsact(d.Index)))
		}
		if test.marked {
			errs = append(errs, netlink.ChainAdd(deviceOf(d.Index), marker()))
		}
		if test.foreign {
			errs = append(errs, netlink.ChainAdd(deviceOf(d.Index), netlink.Chain{Parent: netlink.HANDLE_MIN_INGRESS, Chain: 5}))
		}
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
		removed, err := Sweep(files)
		if err != nil {
			t.Error(err)
		}
		if got := blockQdiscOf(t, d); got == "clsact" != test.remain {
			t.Errorf("%+v: the qdisc is %q, removed is %q", test, got, strings.Join(removed, ", "))
		}
		if left, err := os.ReadDir(files.Dir); err != nil || len(left) > 0 {
			t.Errorf("files are left: %v, %v", left, err)
		}
	}
}

// TestTakesOver: the next tracer after a kill keeps the qdisc, since making it anew would lose packets, and removes it in the end.
func TestTakesOver(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	d := addVeth(t, "cali1", netdev.RolePod)
	dir := t.TempDir()
	files, err := CurrentFiles(dir)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(files.setQdiscs(map[int]ownQdisc{d.Index: {Device: d.Name, Marked: true}}),
		netlink.QdiscAdd(clsact(d.Index)), netlink.ChainAdd(deviceOf(d.Index), marker()))
	if err != nil {
		t.Fatal(err)
	}
	l := newLoader(t, dir)
	if got := blockQdiscOf(t, d); got != "clsact" {
		t.Errorf("the qdisc is %q after the start", got)
	}
	if noted, err := files.qdiscs(); err != nil || !noted[d.Index].Marked {
		t.Errorf("the note is %+v, %v", noted, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := blockQdiscOf(t, d); got != "" {
		t.Errorf("the qdisc is %q after the end", got)
	}
}

// TestNotesOfGoneDevices: the note does not grow with each pod that ever was.
func TestNotesOfGoneDevices(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	d := addVeth(t, "cali1", netdev.RolePod)
	l := newLoader(t, t.TempDir())
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range 1000 {
		if err := l.noteQdisc(Hook{Ifindex: 1000 + i, Device: "gone"}, qdiscMarked); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.noteQdisc(Hook{Ifindex: d.Index, Device: d.Name}, qdiscBegun); err != nil {
		t.Fatal(err)
	}
	noted, err := l.files.qdiscs()
	if err != nil || len(noted) > 2*forgetQdiscs || noted[d.Index] != (ownQdisc{Device: "cali1"}) {
		t.Errorf("%d devices are noted, cali1 as %+v: %v", len(noted), noted[d.Index], err)
	}
	if err := l.noteQdisc(Hook{Ifindex: d.Index}, qdiscOfOthers); err != nil {
		t.Fatal(err)
	}
	if noted, err := l.files.qdiscs(); err != nil || noted[d.Index] != (ownQdisc{}) {
		t.Errorf("another's qdisc is noted as ours: %+v, %v", noted, err)
	}
}
