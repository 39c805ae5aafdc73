package main

import (
	"runtime"
	"testing"
)

func TestCPUName(t *testing.T) {
	t.Parallel()
	x86 := "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel\t\t: 2\nmodel name\t: AMD EPYC\nstepping\t: 1\n"
	if got := cpuName(x86); got != "AMD EPYC" {
		t.Errorf("%q, want AMD EPYC", got)
	}
	arm := "processor\t: 0\nBogoMIPS\t: 243.75\nCPU implementer\t: 0x41\n"
	if got := cpuName(arm); got != runtime.GOARCH {
		t.Errorf("%q, want %q", got, runtime.GOARCH)
	}
}

func TestThisMachine(t *testing.T) {
	t.Parallel()
	m, err := thisMachine()
	if err != nil || m.CPU == "" || m.CPUs < 1 || m.Kernel == "" || m.Go != runtime.Version() || m.Load < 0 {
		t.Errorf("%+v, %v", m, err)
	}
}
