package agent

import (
	"fmt"
	"os/exec"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// paceTo sets the times at which packets may leave so that so many bits a second do (earliest departure time), as Cilium's bandwidth
// manager does at the uplink for pods whose annotation limits them, and drops what would have to wait for longer than the horizon.
func paceTo(last *ebpf.Map, bits int, horizon time.Duration) asm.Instructions {
	const length, departure, shot = 0, 152, 2 // offsets in struct __sk_buff: len, tstamp
	return asm.Instructions{
		asm.Mov.Reg(asm.R6, asm.R1),
		asm.StoreImm(asm.RFP, -4, 0, asm.Word),
		asm.LoadMapPtr(asm.R1, last.FD()),
		asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4),
		asm.FnMapLookupElem.Call(),
		asm.JEq.Imm(asm.R0, 0, "pass"),
		asm.Mov.Reg(asm.R7, asm.R0),
		asm.FnKtimeGetNs.Call(),
		asm.LoadMem(asm.R1, asm.R6, length, asm.Word),
		asm.Mul.Imm(asm.R1, int32(8e9/bits)),
		asm.LoadMem(asm.R2, asm.R7, 0, asm.DWord),
		asm.Add.Reg(asm.R1, asm.R2), // when this one may leave
		asm.JGT.Reg(asm.R1, asm.R0, "wait"),
		asm.StoreMem(asm.R7, 0, asm.R0, asm.DWord),
		asm.Ja.Label("pass"),
		asm.Mov.Reg(asm.R3, asm.R1).WithSymbol("wait"),
		asm.Sub.Reg(asm.R3, asm.R0),
		asm.LoadImm(asm.R4, int64(horizon), asm.DWord),
		asm.JGT.Reg(asm.R3, asm.R4, "drop"),
		asm.StoreMem(asm.R7, 0, asm.R1, asm.DWord),
		asm.StoreMem(asm.R6, departure, asm.R1, asm.DWord),
		asm.Mov.Imm(asm.R0, -1).WithSymbol("pass"),
		asm.Return(),
		asm.Mov.Imm(asm.R0, shot).WithSymbol("drop"),
		asm.Return(),
	}
}

// TestPacedByDepartureTime limits what a pod sends as Cilium does: by times of departure, for which fq on the uplink holds packets. Where the
// pod's annotation asks for that it is no fault.
func TestPacedByDepartureTime(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 500}, func(o *Options) {
		for address, id := range o.Namer.(names) {
			if id.Workload == lab.Web {
				id.EgressBandwidth = 200_000
				o.Namer.(names)[address] = id
			}
		}
	})
	var err error
	if in := c.lab.Node(1); in.Do(func() error {
		err = exec.Command("tc", "qdisc", "add", "dev", uplink, "root", "fq").Run()
		return nil
	}) != nil || err != nil {
		t.Log("this kernel has no fq")
		return
	}
	last, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.Array, KeySize: 4, ValueSize: 8, MaxEntries: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer last.Close()
	defer c.attachForeign(0, uplink, "egress", false, paceTo(last, 200_000, 600*time.Millisecond))()
	var before diagnose.Snapshot
	c.eventually(30*time.Second, "packets that fq holds", func() (bool, string) {
		before = c.now(0)
		d := stages(before.Counts, lab.Web, lab.API)[journey.Queue]
		return d.Device == uplink && d.Delay.Quantile(0.5) > 0.3, fmt.Sprintf("%+v p50 %v", d.StageKey, d.Delay.Quantile(0.5))
	})
	time.Sleep(5 * time.Second)
	after := c.now(0)
	report := diagnose.Diagnose("node1", before, after)
	if report.Verdict != diagnose.Healthy {
		t.Errorf("%s: %s", report.Verdict, report.Summary)
	}
	found := false
	for _, f := range report.Findings {
		if f.Cause != diagnose.QdiscDelay || f.Device != uplink {
			continue
		}
		found = true
		if f.Severity != diagnose.Info || f.Pairs[0].Src != "default/"+lab.Web {
			t.Errorf("%s: %+v", report.Summary, f)
		}
	}
	if !found {
		t.Errorf("%s: %+v", report.Summary, report.Findings)
	}
	t.Log(report.Summary)
}
