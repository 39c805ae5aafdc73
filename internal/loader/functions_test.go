package loader

import (
	"errors"
	"io"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

const symbolTable = `0000000000000000 A fixed_percpu_data
ffffffff81000000 T _stext
ffffffff81000100 t second
ffffffff81000080 T first
ffffffff81000090 D data_between
ffffffff810000f0 t __pfx_second
ffffffff81000200 T last
ffffffffc0000000 t in_module	[ipip]
ffffc90000000000 t made_at_run_time	[bpf]
`

// laterModule is a module that lies close behind another one.
const laterModule = "ffffffffc0001000 t in_later_module\t[ip_gre]\n"

func TestFunctionAt(t *testing.T) {
	t.Parallel()
	table, err := parseFunctions(strings.NewReader(symbolTable))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[uint64]string{
		0xffffffff81000080: "first",
		0xffffffff810000ff: "first",
		0xffffffff81000123: "second",
		0xffffffff81000200: "last",
		0xffffffffc0000010: "in_module",
		0xffffffffbfffffff: "", // far behind the last
		0xffffffff80ffffff: "",
		0xffffc90000000010: "",
		0x1:                "",
		^uint64(0):         "",
	} {
		if got := table.at(address); got != want {
			t.Errorf("%#x: %q, want %q", address, got, want)
		}
	}
}

// TestReaderDoesNotWaitForFunctions asks for places in a module that was loaded after the start, while the symbol table
// is so slow that nobody could wait for it.
func TestReaderDoesNotWaitForFunctions(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const scan = 3 * time.Second
		var reads atomic.Int32
		text := symbolTable
		f := readFunctions(func() (io.ReadCloser, error) {
			if reads.Add(1) > 1 {
				time.Sleep(scan)
			}
			return io.NopCloser(strings.NewReader(text)), nil
		})
		text += laterModule
		ask := func(address uint64, want string, wantReads int32) {
			t.Helper()
			begun := time.Now()
			got := f.at(address)
			if waited := time.Since(begun); waited > 0 {
				t.Errorf("the reader waited for %v", waited)
			}
			synctest.Wait()
			if got != want || reads.Load() != wantReads {
				t.Errorf("%q after %d reads, want %q after %d", got, reads.Load(), want, wantReads)
			}
		}
		const first, later = 0xffffffff81000088, 0xffffffffc0001008
		ask(first, "first", 1)
		time.Sleep(rereadInterval)
		ask(first, "first", 1)
		ask(later, "in_module", 2) // as far as is known
		time.Sleep(scan)
		synctest.Wait()
		ask(later, "in_later_module", 2)
		ask(later+1, "in_later_module", 2) // a new place, too soon after the last read
		time.Sleep(rereadInterval)
		ask(later, "in_later_module", 2)
		ask(later+1, "in_later_module", 3)
		time.Sleep(2 * rereadInterval)
		ask(later, "in_later_module", 3)
	})
}

// TestHiddenFunctions reads a table as those see it who may not know addresses, and none at all.
func TestHiddenFunctions(t *testing.T) {
	t.Parallel()
	for _, open := range []func() (io.ReadCloser, error){
		func() (io.ReadCloser, error) {
			return io.NopCloser(strings.NewReader("0000000000000000 T _stext\n0000000000000000 t first\n")), nil
		},
		func() (io.ReadCloser, error) { return nil, errors.New("no such file") },
	} {
		f := readFunctions(open)
		f.read = time.Time{}
		if got := f.at(0xffffffff81000088); got != "" {
			t.Errorf("%q, want no name", got)
		}
	}
}

func TestFindFunction(t *testing.T) {
	t.Parallel()
	table, err := parseFunctions(strings.NewReader(symbolTable + "ffffffff81000180 t split.constprop.0\n"))
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][2]uint64{
		"first": {0xffffffff81000080, 0x80}, "split": {0xffffffff81000180, 0x80}, "data_between": {}, "spl": {},
	} {
		if start, size := table.find(name); start != want[0] || size != want[1] {
			t.Errorf("%s is at %#x with %#x bytes, want %#x", name, start, size, want)
		}
	}
	if start, size := (&functionTable{}).find("first"); start != 0 || size != 0 {
		t.Errorf("found at %#x where there is none", start)
	}
}

// TestFunctionsAreSmall reads this kernel's functions, which an agent keeps as long as it lives.
func TestFunctionsAreSmall(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begun := time.Now()
	f := readFunctions(openSymbols)
	took := time.Since(begun)
	runtime.GC()
	runtime.ReadMemStats(&after)
	kept := int64(after.HeapAlloc) - int64(before.HeapAlloc)
	n := len(f.table.Load().entries)
	t.Logf("%d functions in %d KiB, read in %v", n, kept>>10, took)
	if kept > 4<<20 {
		t.Errorf("%d functions take %d KiB", n, kept>>10)
	}
}

func BenchmarkFunctionAt(b *testing.B) {
	f := readFunctions(openSymbols)
	t := f.table.Load()
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		f.at(t.first + i%64*40990%(t.last-t.first)) // as many places as drop packets on a busy node
	}
}
