package lab

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"tracer/internal/lab/load"
)

// TestMachines makes the halves of a lab on two machines, which are network namespaces here.
func TestMachines(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	machines := [2]Namespace{Namespace("m1" + o.Name), Namespace("m2" + o.Name)}
	for _, ns := range machines {
		if err := ns.create(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := ns.remove(); err != nil {
				t.Error(err)
			}
		})
	}
	h, err := machines[0].handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := addVeth(h, linkAttrs("eth0", underlayMTU), "eth0", nil, machines[1]); err != nil {
		t.Fatal(err)
	}
	before := addresses(t, machines[:])
	var halves [2]*Lab
	options := [2]Options{o, o}
	for _, i := range []int{1, 0} { // the one that calls waits for the other
		options[i].RunDir, options[i].Machine = t.TempDir(), nodeName(i+1)
		err := machines[i].Do(func() (err error) { halves[i], err = Up(t.Context(), options[i]); return err })
		if err != nil {
			t.Fatal(err)
		}
	}
	waitUntil(t, 10*time.Second, "calls are answered from the other machine", func() (bool, error) {
		r, err := halves[0].Recent(time.Second, load.Monotonic())
		return r.RoundTrip.Count > 20 && r.Response.Received > 20, err
	})
	if _, err := halves[0].Fault(Fault{Node: "node2", Delay: time.Millisecond}); err == nil {
		t.Error("a fault was put onto another machine")
	}
	if s, err := halves[1].Status(time.Now()); err != nil || len(s.Nodes) != 1 || s.Nodes[0].Name != "node2" {
		t.Errorf("the status of node2's half has the nodes %+v, %v", s.Nodes, err)
	}
	f, err := halves[0].Fault(Fault{Delay: 500 * time.Millisecond})
	if err != nil || f.Node != "node1" {
		t.Errorf("a fault on this machine: %+v, %v", f, err)
	}
	if err := errors.Join(halves[0].Down(), halves[1].Down()); err != nil {
		t.Error(err)
	}
	if after := addresses(t, machines[:]); !slices.Equal(after, before) {
		t.Errorf("machines have %v, had %v", after, before)
	}
	for _, o := range options {
		assertGone(t, o)
	}
}

// addresses are the devices of namespaces but tunl0, which comes by itself, with how many addresses and qdiscs of ours they have.
func addresses(t *testing.T, all []Namespace) (found []string) {
	t.Helper()
	for _, ns := range all {
		h, err := ns.handle()
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		links, err := h.LinkList()
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range links {
			addrs, err := h.AddrList(l, netlink.FAMILY_V4)
			if err != nil {
				t.Fatal(err)
			}
			if name := l.Attrs().Name; name != "tunl0" || len(addrs) > 0 {
				found = append(found, string(ns)+" "+name)
			}
			for _, a := range addrs {
				found = append(found, a.String())
			}
			qdiscs, err := h.QdiscList(l)
			if err != nil {
				t.Fatal(err)
			}
			for _, q := range qdiscs {
				if q.Attrs().Handle == handleRoot {
					found = append(found, q.Type())
				}
			}
		}
	}
	return found
}

func TestOwnTimes(t *testing.T) {
	t.Parallel()
	got := ownTimes([]load.Entry{
		{Seq: 1, Sent: 5000, Arrived: 100, Received: 100, Delay: -4900, RoundTrip: 30},
		{Seq: 2, Sent: 5010, Arrived: 200, Received: 210, Delay: -4800, RoundTrip: 40},
	}, 80)
	want := []load.Entry{{Seq: 2, Sent: 170, Received: 210, RoundTrip: 40}}
	if !slices.Equal(got, want) {
		t.Errorf("ownTimes = %+v, want %+v", got, want)
	}
}
