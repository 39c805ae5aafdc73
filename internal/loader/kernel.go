package loader

import (
	"errors"
	"os"
	"strings"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// Kernel is what a Loader reads of the running kernel at its start: type information, and where functions are. Who traces several nodes
// from one process gives all Loaders the same one, so that it is read once. Its zero value is ready for use.
type Kernel struct {
	types btf.Cache

	mu      sync.Mutex // guards what follows
	table   *functionTable
	modules string // that were loaded when table was read
}

// functions are those of the running kernel, read anew where a module has come or gone.
func (k *Kernel) functions() *functions {
	k.mu.Lock()
	defer k.mu.Unlock()
	modules, err := loadedModules()
	if k.table != nil && err == nil && modules == k.modules {
		return newFunctions(openSymbols, k.table)
	}
	f := readFunctions(openSymbols)
	if t := f.table.Load(); len(t.entries) > 0 {
		k.table, k.modules = t, modules
	}
	return f
}

// loadedModules names the kernel's modules with their addresses.
func loadedModules() (string, error) {
	table, err := os.ReadFile("/proc/modules")
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // the kernel can have none
	}
	var modules strings.Builder
	for line := range strings.Lines(string(table)) {
		// nf_tables 372736 13 nft_ct,nft_masq, Live 0xffffffffc0a1e000
		if fields := strings.Fields(line); len(fields) >= 6 {
			modules.WriteString(fields[0] + " " + fields[5] + "\n")
		}
	}
	return modules.String(), err
}
