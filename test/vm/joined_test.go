package main

import (
	"slices"
	"strings"
	"testing"
)

func TestJoinedArgs(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, m := range joinedMachines {
		args := strings.Join(m.args(), " ")
		for n, wire := range m.wires {
			if address := mac(m.name, n); seen[address] || !strings.Contains(args, address) {
				t.Errorf("%s: the card on %s has the address %s: %s", m.name, wire, address, args)
			} else {
				seen[address] = true
			}
			if len(m.tap(wire)) > 15 {
				t.Errorf("%s is no name for a device", m.tap(wire))
			}
		}
	}
	if i := slices.IndexFunc(joinedMachines, func(m joined) bool { return m.ahead != 0 }); i < 0 {
		t.Error("all clocks are the same")
	}
}

func TestClockRate(t *testing.T) {
	t.Parallel()
	for info, want := range map[string]string{
		"cpu MHz\t\t: 3412.874\nflags : x\nbogomips\t: 5192.27\nclflush size\t: 64\n": "tsc_early_khz=2596135",
		"BogoMIPS\t: 50.00\n": "", // of arm64, which is another timer's
	} {
		got, err := clockRate(info)
		if got != want || (err == nil) != (want != "") {
			t.Errorf("clockRate(%q) = %q, %v; want %q", info, got, err, want)
		}
	}
}
