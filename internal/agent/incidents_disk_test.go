package agent

import (
	"fmt"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/incident"
	"tracer/internal/record"
)

func slowCard(device string) diagnose.Finding {
	return diagnose.Finding{Cause: "nic", Severity: diagnose.Critical, Device: device, Text: "drops"}
}

// kinds are the changes of an incident's finding at a device.
func kinds(i *incident.Incident, device string) (all []incident.ChangeKind) {
	for _, c := range i.Changes {
		if c.Finding.Finding.Device == device {
			all = append(all, c.Kind)
		}
	}
	return all
}

// TestSlowDisk: for moments that come while the disk is waited for there is room for a few; what began and ended in those that are left
// out comes with the next one, and so do their losses.
func TestSlowDisk(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	round := func(changes ...incident.Change) {
		k.now = k.now.Add(snapshotEvery)
		k.observe(diagnose.Snapshot{Taken: k.now, Counts: k.counts()}, diagnose.Report{}, changes, true)
	}
	take := func() (kept []incident.Change, lost int) {
		for len(k.incidents.moments) > 0 {
			m := <-k.incidents.moments
			kept, lost = append(kept, m.changes...), lost+len(m.notable.lost)
		}
		return kept, lost
	}
	change := func(kind incident.ChangeKind, device string) incident.Change {
		return incident.Change{Time: k.now, Kind: kind, Finding: diagnose.ActiveFinding{Finding: slowCard(device)}}
	}
	for range cap(k.incidents.moments) {
		round()
	}
	k.incidents.notable.consider(&record.Record{Kind: record.Dropped, Reason: "A"})
	round(change(incident.Begins, "eth0"))
	round(change(incident.Ends, "tunl0"))
	if kept, lost := take(); len(kept) != 0 || lost != 0 {
		t.Fatalf("%v, %d lost in moments of before", kept, lost)
	}
	round(change(incident.Begins, "eth1"))
	kept, lost := take()
	if len(kept) != 3 || kept[0].Finding.Finding.Device != "eth0" || kept[1].Kind != incident.Ends || kept[2].Finding.Finding.Device != "eth1" || lost != 1 {
		t.Errorf("%v, %d lost", kept, lost)
	}
	for range 10 * maxWaiting {
		round(change(incident.Begins, "eth0"))
	}
	if len(k.incidents.refused) > maxWaiting {
		t.Errorf("%d changes wait", len(k.incidents.refused))
	}
	take()
	round()
	if kept, _ := take(); len(kept) != maxWaiting {
		t.Errorf("%d have waited", len(kept))
	}
}

// TestRefusedChangesAreTriedAgain: what begins and ends while the disk is read-only is in the incident once it is not any more.
func TestRefusedChangesAreTriedAgain(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	dir := k.options.Incidents.Store.Dir
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err) // tests run as root
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	writable := func(can bool) {
		t.Helper()
		flags := uintptr(unix.MS_REMOUNT)
		if !can {
			flags |= unix.MS_RDONLY
		}
		if err := unix.Mount("", dir, "", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	k.pass(time.Minute)
	k.pass(30*time.Second, slowQueue(diagnose.Critical))
	writable(false)
	k.pass(30*time.Second, slowQueue(diagnose.Critical), slowCard("eth0"))
	k.pass(retryAfter, slowQueue(diagnose.Critical)) // in which it is tried again
	writable(true)
	k.pass(retryAfter, slowQueue(diagnose.Critical))
	all := k.kept()
	if len(all) != 1 {
		t.Fatalf("%d incidents: %s", len(all), k.log.String())
	}
	if got := kinds(all[0], "eth0"); len(got) != 2 || got[0] != incident.Begins || got[1] != incident.Ends || all[0].Damaged > 0 {
		t.Errorf("of eth0: %v", got)
	}
	if last := all[0].Frames[len(all[0].Frames)-1].Taken; k.now.Sub(last) > sparseFrames {
		t.Errorf("no frames since %v", last)
	}
}

// TestUnwritableDirectory is tried once a minute; what has ended meanwhile is not written as begun, and what waits is bounded.
func TestUnwritableDirectory(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	tries := 0
	k.options.Incidents.About = func() incident.Header { tries++; return incident.Header{} }
	dir := k.options.Incidents.Store.Dir
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory can be there
		t.Fatal(err)
	}
	k.pass(time.Minute)
	k.pass(10*time.Minute, slowQueue(diagnose.Critical))
	if most := 11 * (1 + 12 + 1); tries > most { // the header's and each frame's
		t.Errorf("asked %d times whose it is, at most %d in ten minutes", tries, most)
	}
	for n := range 100 {
		k.pass(20*time.Second, slowQueue(diagnose.Critical), slowCard(fmt.Sprint("veth", n)))
		if len(k.incidents.pending) > maxWaiting {
			t.Fatalf("%d changes wait", len(k.incidents.pending))
		}
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	k.pass(2*retryAfter, slowQueue(diagnose.Critical))
	all := k.kept()
	if len(all) != 1 || len(kinds(all[0], "veth10")) != 0 || len(kinds(all[0], "tunl0")) != 1 {
		t.Fatalf("%d incidents: %+v", len(all), all)
	}
	var many []diagnose.Finding
	for n := range 2 * maxWaiting {
		many = append(many, slowCard(fmt.Sprint("card", n)))
	}
	k.incidents.open = nil
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.pass(time.Minute, many...)
	if len(k.incidents.pending) != maxWaiting {
		t.Errorf("%d changes wait", len(k.incidents.pending))
	}
}
