package main

import (
	"strings"
	"testing"
)

func testRunner(t *testing.T) *runner {
	t.Helper()
	r, err := newRunner()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// TestScenarios checks that each scenario goes the way that it is named after, and takes time.
func TestScenarios(t *testing.T) {
	t.Parallel()
	const rounds, repeat = 5, 1000
	r := testRunner(t)
	list := scenarios(&r.objects, newPackets())
	times, err := r.measure(list, rounds, repeat)
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range list {
		if len(times[i]) != rounds {
			t.Fatalf("%s was timed %d times, want %d", s.name, len(times[i]), rounds)
		}
		if q := quartilesOf(times[i]); q.low <= 0 {
			t.Errorf("%s takes %v ns", s.name, q)
		}
	}
	if list[0].name != emptyName || list[1].name != clockName {
		t.Errorf("the first two are %s and %s", list[0].name, list[1].name)
	}
}

// TestVerify gives scenarios that do not what they say.
func TestVerify(t *testing.T) {
	t.Parallel()
	r := testRunner(t)
	p := newPackets()
	for _, test := range []struct {
		scenario scenario
		message  string
	}{
		{scenario{name: "counts what it should not", program: r.objects.First, packet: p.tcp4}, "counter 0 grew by 100 in 100 runs, want 0"},
		{scenario{name: "counts not what it should", program: r.objects.Miss, packet: p.tcp4,
			counts: []hooksCounter{hooksCounterCOUNT_FINISHED}}, "counter 2 grew by 0 in 100 runs, want 100"},
		{scenario{name: "another hook", program: r.objects.Later, packet: p.tcp4, leaves: hooksHookHOOK_XMIT}, "want hook 4"},
		{scenario{name: "no slot", program: r.objects.Miss, packet: p.tcp4, leaves: hooksHookHOOK_XMIT}, "leaves tag 0x0"},
	} {
		scene, err := r.scene(&test.scenario)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.verify(&test.scenario, scene); err == nil || !strings.Contains(err.Error(), test.message) {
			t.Errorf("%s: %v, want %q", test.scenario.name, err, test.message)
		}
	}
}

// TestFullRing lets the ring run over: such times are worth nothing, and refused.
func TestFullRing(t *testing.T) {
	t.Parallel()
	r := testRunner(t)
	s := scenario{name: "last", program: r.objects.StartXmit, packet: newPackets().tcp4, flags: hooksFlagFLAG_LEAVES}
	scene, err := r.scene(&s)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.run(&s, scene, ringRecords); err != nil {
		t.Fatal(err)
	}
	if err := r.missedNothing(); err != nil {
		t.Errorf("%d records: %v", ringRecords, err)
	}
	if err := r.run(&s, scene, 10); err != nil {
		t.Fatal(err)
	}
	if err := r.missedNothing(); err == nil {
		t.Error("a full ring was not noticed")
	}
	if n, err := r.drain(); err != nil || n != ringRecords {
		t.Errorf("%d records were in the ring, want %d; %v", n, ringRecords, err)
	}
	if _, err := r.measure(nil, 1, ringRecords+1); err == nil {
		t.Error("more repeats than the ring has room for were accepted")
	}
}
