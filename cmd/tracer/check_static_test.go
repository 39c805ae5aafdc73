package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"

	"tracer/internal/diagnose"
)

// TestCheckSmallUplink: an uplink that takes less than an overlay's packets is named before there is traffic.
func TestCheckSmallUplink(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	for _, args := range []string{
		"addr add 192.0.2.1/24 dev eth0", "link set eth0 up", "link add vxlan.calico mtu 1450 type vxlan id 1 dstport 4789 dev eth0 remote 192.0.2.2",
		"link set vxlan.calico up", "route add 10.244.2.0/24 dev vxlan.calico",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", args, err, out)
		}
	}
	patterns := []string{"uplink=eth0", "overlay=vxlan.calico"}
	report, err := check(t.TempDir(), patterns)
	if err != nil || report.Unread != "" || len(report.Warnings) > 0 {
		t.Fatalf("%+v, %q, %v", report.Warnings, report.Unread, err)
	}
	if out, err := exec.Command("ip", "link", "set", "eth0", "mtu", "900").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if report, err = check(t.TempDir(), patterns); err != nil {
		t.Fatal(err)
	}
	if len(report.Warnings) != 1 || report.Warnings[0].Cause != diagnose.MTU || report.Warnings[0].Device != "eth0" {
		t.Errorf("%+v", report.Warnings)
	}
	var text bytes.Buffer
	if err := report.write(&text); err != nil {
		t.Fatal(err)
	}
	if want := "warning: mtu: the MTU of eth0 is too small for vxlan.calico: 900 bytes"; !strings.Contains(text.String(), want) {
		t.Errorf("no %q in\n%s", want, text.String())
	}
}
