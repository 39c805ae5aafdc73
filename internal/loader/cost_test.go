package loader

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/btf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/bpfobj"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// costFile says what the programs and the way of a record cost, as far as it is the same on every machine.
const costFile = "testdata/cost.txt"

var updateCost = flag.Bool("update-cost", false, "write "+costFile+" anew")

// cost is a number by what it counts and of whom: "instructions tracer_egress".
type cost map[string]int

func (c cost) text() []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "# What each program and each record cost. When a change is worth it, `make cost` writes this file anew.")
	for _, name := range slices.Sorted(maps.Keys(c)) {
		fmt.Fprintf(&b, "%-32s %7d\n", name, c[name])
	}
	return b.Bytes()
}

func parseCost(text string) (cost, error) {
	c := cost{}
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("%q: want what is counted, of whom, and how many", line)
		}
		n, err := strconv.Atoi(fields[2])
		if err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		c[fields[0]+" "+fields[1]] = n
	}
	return c, nil
}

// differences are what has changed from c to now, one sentence each.
func (c cost) differences(now cost) (all []string) {
	names := map[string]bool{}
	for name := range c {
		names[name] = true
	}
	for name := range now {
		names[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		before, was := c[name]
		after, is := now[name]
		switch {
		case !was:
			all = append(all, fmt.Sprintf("%s is new: %d", name, after))
		case !is:
			all = append(all, fmt.Sprintf("%s is gone: %d before", name, before))
		case after > before:
			all = append(all, fmt.Sprintf("%s has grown from %d to %d", name, before, after))
		case after < before:
			all = append(all, fmt.Sprintf("%s has shrunk from %d to %d", name, before, after))
		}
	}
	return all
}

// TestCost is a guard: what each packet of a node pays must not grow unnoticed. Times differ from machine to machine,
// and `make bench` has them; instructions and allocations do not.
func TestCost(t *testing.T) {
	now := cost{}
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		t.Fatal(err)
	}
	for name, program := range spec.Programs {
		now["instructions "+name] = len(program.Instructions)
	}
	maps.Copy(now, allocations(t))
	maps.Copy(now, verified(t, spec))
	text, err := os.ReadFile(costFile)
	if err != nil {
		t.Fatal(err)
	}
	committed, err := parseCost(string(text))
	if err != nil {
		t.Fatalf("%s: %v", costFile, err)
	}
	ours := func(name string) bool { return strings.HasPrefix(name, verifiedBy(t)+" ") }
	for name, n := range committed {
		// What the verifiers of other kernels say cannot be checked here.
		if strings.HasPrefix(name, "verified-") && !ours(name) {
			now[name] = n
		}
	}
	if *updateCost {
		if err := os.WriteFile(costFile, now.text(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(committed)), ours) {
		maps.DeleteFunc(now, func(name string, _ int) bool { return ours(name) }) // nobody has written down this kernel's
	}
	if changed := committed.differences(now); len(changed) > 0 {
		t.Errorf("the cost is not what %s says:\n  %s\nIf that is meant, run `make bench` to see what it costs in time, "+
			"`make cost` to write the file anew, and commit it with the reason.", costFile, strings.Join(changed, "\n  "))
	}
}

// verifiedMost bounds the instructions that the verifier looks at in all programs together: most of a tracer's start.
const verifiedMost = 100_000

// verifiedBy begins the entries of a kernel's verifier, of which each works in its own way: "verified-6.18 tracer_egress".
func verifiedBy(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	parts := strings.SplitN(unix.ByteSliceToString(u.Release[:]), ".", 3)
	return "verified-" + strings.Join(parts[:2], ".")
}

// verified loads the programs and asks the kernel how many instructions the verifier looked at in each. Kernels before 5.16
// do not say.
func verified(t *testing.T, spec *ebpf.CollectionSpec) cost {
	t.Helper()
	if err := rlimit.RemoveMemlock(); err != nil {
		t.Fatal(err)
	}
	objects, err := ebpf.NewCollection(spec)
	if err != nil {
		t.Fatal(err)
	}
	defer objects.Close()
	c, sum := cost{}, 0
	for name, program := range objects.Programs {
		info, err := program.Info()
		if err != nil {
			t.Fatal(err)
		}
		n, ok := info.VerifiedInstructions()
		if !ok {
			return cost{}
		}
		c[verifiedBy(t)+" "+name] = int(n)
		sum += int(n)
	}
	if sum > verifiedMost {
		t.Errorf("the verifier looks at %d instructions of all programs together, want at most %d", sum, verifiedMost)
	}
	return c
}

// allocations counts them for one record, by each step of its way to the counts.
func allocations(t *testing.T) cost {
	t.Helper()
	raw, l := journeyRecord(t), &Loader{symbols: newKernelSymbols(btf.NewCache(), readFunctions(openSymbols))}
	list := []netdev.Device{
		{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 2, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 3, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "pfifo_fast"}},
	}
	devices, counts := journey.NewDevices(list), aggregate.New(aggregate.Options{Namer: nobody{}})
	counts.SetDevices(list)
	var r record.Record
	steps := []struct {
		name string
		do   func() error
	}{
		{"decode", func() error {
			if !l.take(raw, &r) {
				return fmt.Errorf("the record makes no sense")
			}
			return nil
		}},
		{"stage", func() error {
			_, err := journey.PathOf(&r, devices)
			return err
		}},
		{"aggregate", func() error {
			counts.Add(&r)
			return nil
		}},
	}
	c := cost{}
	for _, step := range steps {
		var err error
		c["allocations "+step.name] = int(testing.AllocsPerRun(1000, func() {
			if e := step.do(); e != nil {
				err = e
			}
		}))
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
	}
	if s := counts.Snapshot(); s.Records == 0 || s.Pathless != 0 || len(s.Flows) != 1 {
		t.Errorf("the aggregator counted %d records of %d flows, %d of which it did not understand", s.Records, len(s.Flows), s.Pathless)
	}
	return c
}

type nobody struct{}

func (nobody) Lookup(netip.Addr, time.Duration) aggregate.Identity { return aggregate.Identity{} }

// journeyRecord is a packet's way through a tunnel as the kernel writes it.
func journeyRecord(t testing.TB) []byte {
	t.Helper()
	raw := bytesOf(t, annotated)
	k, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	k.Kind, k.Journey.Hops, k.Journey.SplitAt = uint32(bpfobj.TracerRecordKindRECORD_JOURNEY), 5, 0
	copy(k.Journey.Ifindex[:], []uint32{1, 2, 2, 3, 3})
	for i, hook := range []bpfobj.TracerHook{bpfobj.TracerHookHOOK_INGRESS, bpfobj.TracerHookHOOK_EGRESS,
		bpfobj.TracerHookHOOK_XMIT, bpfobj.TracerHookHOOK_EGRESS, bpfobj.TracerHookHOOK_XMIT} {
		k.Journey.Hook[i], k.Journey.TimeNs[i] = uint8(hook), uint64(i+1)*10_000
	}
	k.TimeNs = k.Journey.TimeNs[4]
	return raw
}

func TestCostDifferences(t *testing.T) {
	t.Parallel()
	before, err := parseCost("# heading\ninstructions a 10 # why\n\ninstructions b 20\nallocations decode 0\n")
	if err != nil {
		t.Fatal(err)
	}
	now := cost{"instructions a": 11, "instructions c": 5, "allocations decode": 0}
	want := []string{"instructions a has grown from 10 to 11", "instructions b is gone: 20 before", "instructions c is new: 5"}
	if got := before.differences(now); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	again, err := parseCost(string(now.text()))
	if err != nil {
		t.Fatal(err)
	}
	if changed := now.differences(again); len(changed) != 0 {
		t.Errorf("what was written reads otherwise: %q", changed)
	}
	for _, bad := range []string{"instructions 10", "instructions a many"} {
		if _, err := parseCost(bad); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

// BenchmarkDecode makes a record of what the kernel wrote.
func BenchmarkDecode(b *testing.B) {
	raw, l := journeyRecord(b), &Loader{symbols: newKernelSymbols(btf.NewCache(), readFunctions(openSymbols))}
	var r record.Record
	b.ReportAllocs()
	for b.Loop() {
		if !l.take(raw, &r) {
			b.Fatal("the record makes no sense")
		}
	}
}
