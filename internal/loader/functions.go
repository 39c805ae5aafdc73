package loader

import (
	"bufio"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	// maxFunction is more than any function's size: an address that far behind one is in none that we know.
	maxFunction = 64 << 10
	// rereadInterval is the least time between two reads of the symbol table.
	rereadInterval = 10 * time.Second
	// maxModulePlaces bounds the addresses in modules that are remembered; some dozens of places there drop packets.
	maxModulePlaces = 4096
)

// functions are those of the running kernel, by address. See docs/design.md#functions-are-read-at-the-start. Only the
// reader asks it.
type functions struct {
	open  func() (io.ReadCloser, error)
	table atomic.Pointer[functionTable]

	modulePlaces map[uint64]bool // met in modules, and the table was read since
	read         time.Time       // when the last read of the table began
}

func openSymbols() (io.ReadCloser, error) { return os.Open("/proc/kallsyms") }

func readFunctions(open func() (io.ReadCloser, error)) *functions {
	f := newFunctions(open, &functionTable{})
	f.readTable()
	return f
}

func newFunctions(open func() (io.ReadCloser, error), t *functionTable) *functions {
	f := &functions{open: open, modulePlaces: map[uint64]bool{}, read: time.Now()}
	f.table.Store(t)
	return f
}

// readTable takes some tens of milliseconds: the kernel writes out all its symbols. Where it fails the table stays.
func (f *functions) readTable() {
	file, err := f.open()
	if err != nil {
		return
	}
	defer file.Close()
	if t, err := parseFunctions(file); err == nil {
		f.table.Store(t)
	}
}

// at names the function at an address as far as it is known now, without a wait. A module may have been loaded since
// the table was read, so a new place there has it read again in the background.
func (f *functions) at(address uint64) string {
	t := f.table.Load()
	if len(t.entries) == 0 {
		return "" // addresses are hidden from us
	}
	if !t.inKernelProper(address) && !f.modulePlaces[address] && time.Since(f.read) >= rereadInterval {
		if len(f.modulePlaces) >= maxModulePlaces {
			clear(f.modulePlaces)
		}
		f.modulePlaces[address] = true
		f.read = time.Now()
		go f.readTable()
	}
	return t.at(address)
}

// functionTable is a symbol table's functions, sorted by address.
type functionTable struct {
	base        uint64 // address of the first that was read
	entries     []function
	names       []byte // each ends with a zero
	first, last uint64 // addresses of the kernel proper, without modules
}

// function is where one begins, less the table's base, and where its name does. The kernel and its modules lie within two
// GiB, since they call each other.
type function struct {
	start int32
	name  uint32
}

// parseFunctions reads a symbol table in the format of /proc/kallsyms, which is not sorted.
func parseFunctions(table io.Reader) (*functionTable, error) {
	t := &functionTable{}
	lines := bufio.NewScanner(table)
	for lines.Scan() {
		// ffffffff81000000 T _stext
		// ffffffffc0000000 t in_module	[module]
		line := lines.Bytes()
		if len(line) < 20 || (line[17] != 't' && line[17] != 'T') {
			continue
		}
		start, err := strconv.ParseUint(string(line[:16]), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("symbol table: %w", err)
		}
		name, _, inModule := bytes.Cut(line[19:], []byte("\t"))
		if start != 0 && !isPadding(name) { // zero is every function's, to whom addresses are hidden
			t.add(start, name, inModule)
		}
	}
	slices.SortStableFunc(t.entries, func(a, b function) int { return cmp.Compare(a.start, b.start) })
	t.entries, t.names = slices.Clone(t.entries), slices.Clone(t.names) // without the room to grow
	return t, lines.Err()
}

// isPadding tells the symbols of what lies in front of functions, which doubles their number on some kernels.
func isPadding(name []byte) bool {
	return bytes.HasPrefix(name, []byte("__pfx_")) || bytes.HasPrefix(name, []byte("__cfi_"))
}

func (t *functionTable) add(start uint64, name []byte, inModule bool) {
	if len(t.entries) == 0 {
		t.base, t.first = start, start
	}
	offset := int64(start - t.base)
	if offset < math.MinInt32 || offset > math.MaxInt32 {
		return // code that is made at run time: it frees no packets
	}
	if !inModule {
		t.first, t.last = min(t.first, start), max(t.last, start)
	}
	t.entries = append(t.entries, function{int32(offset), uint32(len(t.names))})
	t.names = append(append(t.names, name...), 0)
}

func (t *functionTable) inKernelProper(address uint64) bool {
	return t.first <= address && address <= t.last
}

// find is where the function of a name begins, whatever suffix the compiler gave it, and where the next one begins, relative
// to it; zeros if there is no such function.
func (t *functionTable) find(name string) (start, size uint64) {
	for i, f := range t.entries[:max(0, len(t.entries)-1)] {
		symbol, _, _ := bytes.Cut(t.names[f.name:], []byte{0})
		if symbol, _, _ := bytes.Cut(symbol, []byte(".")); string(symbol) == name {
			return t.base + uint64(int64(f.start)), uint64(t.entries[i+1].start - f.start)
		}
	}
	return 0, 0
}

// at names the function that begins at or nearest before an address.
func (t *functionTable) at(address uint64) string {
	offset := int64(address - t.base)
	i, found := slices.BinarySearchFunc(t.entries, offset, func(f function, offset int64) int {
		return cmp.Compare(int64(f.start), offset)
	})
	if !found {
		i--
	}
	if i < 0 || offset-int64(t.entries[i].start) > maxFunction {
		return ""
	}
	name, _, _ := bytes.Cut(t.names[t.entries[i].name:], []byte{0})
	return string(name)
}
