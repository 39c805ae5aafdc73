package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"
)

// Limits of memory, in bytes.
const (
	kernelLimit   = 24 << 20
	residentLimit = 40 << 20
)

// kernelMemory is what an agent takes in the kernel.
type kernelMemory struct {
	Maps        []mapMemory     `json:"maps"`
	Programs    []programMemory `json:"programs"`
	KernelBytes uint64          `json:"kernel_bytes"` // of all maps and programs
}

type mapMemory struct {
	Name       string `json:"name"`
	Type       string `json:"type"`
	MaxEntries uint32 `json:"max_entries"`
	Bytes      uint64 `json:"bytes"`
}

type programMemory struct {
	Name         string `json:"name"`
	Instructions int    `json:"instructions"` // after the verifier's rewriting
	JITBytes     uint32 `json:"jit_bytes"`
	Bytes        uint64 `json:"bytes"` // of instructions and of what the kernel keeps beside the JIT's
}

// readKernelMemory reads what the BPF programs take that this process holds, and their maps.
func readKernelMemory() (m kernelMemory, err error) {
	programs, err := heldByUs()
	if err != nil {
		return m, fmt.Errorf("find our BPF programs: %w", err)
	}
	maps := map[ebpf.MapID]bool{}
	for _, id := range programs {
		held, used, err := programMemoryOf(id)
		if err != nil {
			return m, fmt.Errorf("read the memory of BPF program %d: %w", id, err)
		}
		m.Programs = append(m.Programs, held)
		m.KernelBytes += held.Bytes + uint64(held.JITBytes)
		for _, id := range used {
			maps[id] = true
		}
	}
	for id := range maps {
		held, err := mapMemoryOf(id)
		if err != nil {
			return m, fmt.Errorf("read the memory of BPF map %d: %w", id, err)
		}
		m.Maps = append(m.Maps, held)
		m.KernelBytes += held.Bytes
	}
	slices.SortFunc(m.Maps, func(a, b mapMemory) int { return cmp.Compare(b.Bytes, a.Bytes) })
	slices.SortFunc(m.Programs, func(a, b programMemory) int { return cmp.Compare(a.Name, b.Name) })
	return m, nil
}

// heldByUs lists the programs behind our file descriptors; a link's names its program.
func heldByUs() ([]ebpf.ProgramID, error) {
	number := regexp.MustCompile(`(?m)^prog_id:\t(\d+)$`)
	files, err := filepath.Glob("/proc/self/fdinfo/*")
	if err != nil {
		return nil, err
	}
	var programs []ebpf.ProgramID
	for _, file := range files {
		text, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue // Glob's own
		}
		if err != nil {
			return nil, err
		}
		if found := number.FindSubmatch(text); found != nil {
			id, err := strconv.ParseUint(string(found[1]), 10, 32)
			if err != nil {
				return nil, err
			}
			programs = append(programs, ebpf.ProgramID(id))
		}
	}
	slices.Sort(programs)
	return slices.Compact(programs), nil
}

func mapMemoryOf(id ebpf.MapID) (m mapMemory, err error) {
	held, err := ebpf.NewMapFromID(id)
	if err != nil {
		return m, err
	}
	defer held.Close()
	info, err := held.Info()
	if err != nil {
		return m, err
	}
	size, ok := info.Memlock()
	switch {
	case ok:
	case info.Type == ebpf.RingBuf:
		size = uint64(info.MaxEntries) // bytes; before 6.4 the kernel says 0 of these
	default:
		return m, errors.New("the kernel does not say")
	}
	return mapMemory{Name: info.Name, Type: info.Type.String(), MaxEntries: info.MaxEntries, Bytes: size}, nil
}

func programMemoryOf(id ebpf.ProgramID) (m programMemory, maps []ebpf.MapID, err error) {
	held, err := ebpf.NewProgramFromID(id)
	if err != nil {
		return m, nil, err
	}
	defer held.Close()
	info, err := held.Info()
	if err != nil {
		return m, nil, err
	}
	const instruction = 8 // bytes
	translated, err := info.TranslatedSize()
	if err != nil {
		return m, nil, err
	}
	jit, err := info.JitedSize()
	if err != nil {
		return m, nil, err
	}
	size, sized := info.Memlock()
	maps, listed := info.MapIDs()
	if !sized || !listed {
		return m, nil, errors.New("the kernel does not say")
	}
	return programMemory{Name: info.Name, Instructions: translated / instruction, JITBytes: jit, Bytes: size}, maps, nil
}

// residentOf reads how much of a process is in memory, now and at most.
func residentOf(pid int) (now, peak uint64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("read the resident memory: %w", err)
	}
	for line := range strings.Lines(string(text)) {
		var to *uint64
		switch {
		case strings.HasPrefix(line, "VmRSS:"):
			to = &now
		case strings.HasPrefix(line, "VmHWM:"):
			to = &peak
		default:
			continue
		}
		// VmRSS:	   12345 kB
		fields := strings.Fields(line)
		kilobytes, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("read the resident memory: %w", err)
		}
		*to = kilobytes << 10
	}
	return now, peak, nil
}
