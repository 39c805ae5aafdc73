package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
	"tracer/internal/trace/tracetest"
)

// TestOpenWrite opens what a capture may be written to, and waits for nothing.
func TestOpenWrite(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	there, pipe, block := filepath.Join(dir, "there"), filepath.Join(dir, "pipe"), filepath.Join(dir, "block")
	if err := errors.Join(os.WriteFile(there, nil, 0o600), unix.Mkfifo(pipe, 0o600)); err != nil {
		t.Fatal(err)
	}
	refused := map[string]string{
		there: "is there already; remove it", pipe: "nobody reads from " + pipe, dir: "neither a new file nor a pipe", filepath.Join(dir, "no", "x"): "no such file",
	}
	if err := unix.Mknod(block, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 255))); err == nil { // whoever is root in a container may not
		refused[block] = "neither a new file nor a pipe"
	}
	for name, want := range refused {
		if _, err := openWrite(t.Context(), &cobra.Command{}, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", name, err, want)
		}
	}
	for name, made := range map[string]bool{filepath.Join(dir, "new"): true, "/dev/null": false} {
		h, err := openWrite(t.Context(), &cobra.Command{}, name)
		if err != nil || h.made != made {
			t.Fatalf("%s: %+v, %v", name, h, err)
		}
		if err := h.close(errors.New("no rights")); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(name); (err == nil) == made {
			t.Errorf("%s, of a command that failed before it had a packet: %v", name, err)
		}
	}
}

// TestWriteStalledPipe ends although who reads the pipe takes nothing.
func TestWriteStalledPipe(t *testing.T) {
	t.Parallel()
	pipe := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(pipe, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	h, err := openWrite(ctx, &cobra.Command{}, pipe)
	if err != nil {
		t.Fatal(err)
	}
	told := 0
	err = h.writeTraces(&bytes.Buffer{}, trace.Filter{}, func(yield func(trace.Trace, error) bool) {
		for next := oneJourney(t); yield(next, nil); {
		}
	}, 0, func() {
		if told++; told == 3 {
			cancel()
		}
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) || strings.Contains(err.Error(), "truncate") {
		t.Errorf("behind %d packets: %v", h.packets, err)
	}
	if err := h.close(err); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(pipe); err != nil {
		t.Errorf("the pipe was not made by the command: %v", err)
	}
}

// oneJourney is a journey.
func oneJourney(t *testing.T) trace.Trace {
	t.Helper()
	rec := tracetest.Request(record.Finished)
	got, err := trace.New(&rec, journey.NewDevices([]netdev.Device{
		{Index: tracetest.PodIndex, Name: "cali1", Role: netdev.RolePod, Leaves: true}, {Index: tracetest.OverlayIndex, Name: "tunl0", Role: netdev.RoleOverlay},
		{Index: tracetest.UplinkIndex, Name: "eth0", Role: netdev.RoleUplink, Leaves: true},
	}), tracetest.Cluster(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// TestWriteMissed says how many journeys are not in the file.
func TestWriteMissed(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "new")
	for _, failed := range []error{nil, errors.New("the agent ended")} {
		h, err := openWrite(t.Context(), &cobra.Command{}, name)
		if err != nil {
			t.Fatal(err)
		}
		var told bytes.Buffer
		err = h.writeTraces(&told, trace.Filter{}, func(yield func(trace.Trace, error) bool) {
			for _, missed := range []uint64{3, 0, 4} {
				next := oneJourney(t)
				next.Missed = missed
				yield(next, nil)
			}
			if failed != nil {
				yield(trace.Trace{}, failed)
			}
		}, 0, func() {})
		if !errors.Is(err, failed) || h.packets != 3 || !strings.Contains(told.String(), "7 journeys that matched were missed") {
			t.Errorf("%d packets, %v: %s", h.packets, err, &told)
		}
		if err := h.close(err); err != nil {
			t.Error(err)
		}
		if err := os.Remove(name); err != nil {
			t.Errorf("a file that has packets: %v", err)
		}
	}
}
