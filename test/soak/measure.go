package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/cilium/ebpf"

	"tracer/internal/lab/load"
	"tracer/test/scrape"
)

// quantity is something that must not grow.
type quantity struct {
	name, unit string
	// limit is how much it may be more at the end than at the beginning of what is measured: so much of its mean, and so much
	// beside.
	relative, absolute float64
	// never is for what must be 0 from the start to the end: a burst may be lost and the line through it be flat.
	never bool
}

// quantities are all that are measured, in the table's order. Maps are added as they are found.
var quantities = []quantity{
	{name: "memory (RSS)", unit: "MiB", relative: 0.05, absolute: 4},
	{name: "live heap", unit: "MiB", relative: 0.05, absolute: 3},
	{name: "goroutines", relative: 0.05, absolute: 2},
	{name: "threads", relative: 0.05, absolute: 5}, // Go ends none; after a standstill more run at once
	{name: "descriptors", relative: 0.05, absolute: 2},
	{name: "CPU", unit: "cores", relative: 0.1, absolute: 0.01},
	{name: "records lost", never: true},
	{name: "series of metrics", relative: 0.05, absolute: 40}, // those of five pods come and go
	{name: "BPF programs", absolute: 1},
	{name: "BPF maps", absolute: 1},
	{name: "BPF links", absolute: 6},        // of each pod's device two or three
	{name: "files of its own", absolute: 2}, // what is learned is saved after ten minutes
}

// mapLimit is for the entries of each map that has keys: five pods come and go, and while the API server is away none is known.
var mapLimit = quantity{relative: 0.1, absolute: 8}

// slotLimit is for the slots in use of each table: a queue that was filled when it was replaced, and the connections of a dozen pods.
var slotLimit = quantity{relative: 0.25, absolute: 32}

// process is the agent, seen from outside.
type process struct {
	pid          int
	scrape       func(context.Context) ([]scrape.Sample, error)
	own          []string // its directories
	cpuBefore    float64
	cpuAt        float64 // seconds since the run began
	lastSeconds  func() float64
	mapsByNumber map[ebpf.MapID]openMap
	podQueue     bool // whether the hook for queues in pods was attached
	podQueues    int  // how often it came
}

// openMap is a map of the agent's.
type openMap struct {
	*ebpf.Map
	name  string
	table *table // nil if it has keys, or is none
}

// measure returns the values of all quantities, by name.
func (p *process) measure(ctx context.Context) (map[string]float64, error) {
	metrics, err := p.scrape(ctx)
	if err != nil {
		return nil, fmt.Errorf("scrape the agent: %w", err)
	}
	m := map[string]float64{}
	var cpu float64
	podQueue := false
	for _, x := range metrics {
		switch x.Name {
		case "process_resident_memory_bytes":
			m["memory (RSS)"] = x.Value / (1 << 20)
		case "go_gc_heap_live_bytes":
			m["live heap"] = x.Value / (1 << 20)
		case "go_goroutines":
			m["goroutines"] = x.Value
		case "go_threads":
			m["threads"] = x.Value
		case "process_open_fds":
			m["descriptors"] = x.Value
		case "process_cpu_seconds_total":
			cpu = x.Value
		case "tracer_records_lost_total":
			m["records lost"] += x.Value
		case "tracer_hook_up":
			podQueue = podQueue || strings.Contains(x.Labels, `hook="net_dev_queue"`)
		}
		m["series of metrics"]++
	}
	if podQueue && !p.podQueue {
		p.podQueues++
	}
	p.podQueue = podQueue
	now := p.lastSeconds()
	if p.cpuAt > 0 {
		m["CPU"] = (cpu - p.cpuBefore) / (now - p.cpuAt)
	}
	p.cpuBefore, p.cpuAt = cpu, now
	if err := p.objects(m); err != nil {
		return nil, err
	}
	for _, dir := range p.own {
		files, err := os.ReadDir(dir)
		if err != nil {
			return nil, err
		}
		m["files of its own"] += float64(len(files))
	}
	return m, nil
}

// objects counts what the agent holds of BPF, and the entries of its maps that have keys.
func (p *process) objects(m map[string]float64) error {
	dir := fmt.Sprintf("/proc/%d/fdinfo", p.pid)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	programs, maps, links := map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, e := range entries {
		info, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if errors.Is(err, os.ErrNotExist) {
			continue // closed meanwhile
		} else if err != nil {
			return err
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(info)) {
			key, value, _ := strings.Cut(line, ":")
			fields[key] = strings.TrimSpace(value)
		}
		switch { // a link's has its program's number too
		case fields["link_id"] != "":
			links[fields["link_id"]] = true
		case fields["map_id"] != "":
			maps[fields["map_id"]] = true
		case fields["prog_id"] != "":
			programs[fields["prog_id"]] = true
		}
	}
	m["BPF programs"], m["BPF maps"], m["BPF links"] = float64(len(programs)), float64(len(maps)), float64(len(links))
	for id := range maps {
		number, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return err
		}
		if err := p.entries(ebpf.MapID(number), m); err != nil && !errors.Is(err, os.ErrNotExist) { // closed meanwhile
			return fmt.Errorf("map %s: %w", id, err)
		}
	}
	return nil
}

// entries counts those of a map that has keys, or the slots in use of one that is a table.
func (p *process) entries(id ebpf.MapID, m map[string]float64) error {
	opened, known := p.mapsByNumber[id]
	if !known {
		var err error
		if opened, err = open(id); err != nil {
			return err
		}
		p.mapsByNumber[id] = opened
	}
	if opened.table != nil {
		count, err := opened.table.count(load.Monotonic())
		m["slots of "+opened.table.name] = float64(count)
		return err
	}
	if !slices.Contains([]ebpf.MapType{ebpf.Hash, ebpf.LRUHash, ebpf.PerCPUHash}, opened.Type()) {
		return nil
	}
	count := 0
	var key []byte
	var err error
	for err = opened.NextKey(nil, &key); err == nil; err = opened.NextKey(bytes.Clone(key), &key) {
		if count++; uint32(count) > opened.MaxEntries() {
			break // what is deleted meanwhile begins anew
		}
	}
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	m["entries of "+opened.name] = float64(count)
	return nil
}

func open(id ebpf.MapID) (openMap, error) {
	m, err := ebpf.NewMapFromID(id)
	if err != nil {
		return openMap{}, err
	}
	info, err := m.Info()
	if err != nil {
		return openMap{}, err
	}
	t, err := openTable(m, info)
	return openMap{m, info.Name, t}, err
}
