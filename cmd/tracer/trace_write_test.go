//go:build !nolab

package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/trace"
)

// writtenPacket is a packet of a file that --write made.
type writtenPacket struct {
	device, comments string
	ip               *layers.IPv4
	bytes, length    int
}

// readWritten reads such a file up to its end.
func readWritten(t *testing.T, file []byte) (packets []writtenPacket) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatalf("%d bytes: %v", len(file), err)
	}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatalf("behind %d packets of %d bytes: %v", len(packets), len(file), err)
		}
		device, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		p := writtenPacket{device: device.Name, comments: strings.Join(options.Comments, "\n"), bytes: len(data), length: info.Length}
		p.ip, _ = gopacket.NewPacket(bytes.Clone(data), layers.LinkTypeRaw, gopacket.Default).Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		packets = append(packets, p)
	}
}

// TestTraceWrite writes the headers of packets that a queue holds and loses: from an agent, and by itself.
func TestTraceWrite(t *testing.T) {
	t.Parallel()
	b := newBench(t, "w")
	check := func(who string, packets []writtenPacket, wantSlow bool) {
		t.Helper()
		slow, lost, made := 0, 0, 0
		for _, p := range packets {
			read := strings.Contains(p.comments, "headers as they were at")
			if !read {
				made++ // on a busy machine a packet may be slow where none are read
			}
			if p.ip == nil || p.bytes > 100 || p.length < p.bytes || read != (p.ip.TTL != 0) {
				t.Errorf("%s: %+v with %q", who, p.ip, p.comments)
			}
			switch {
			case strings.HasPrefix(p.comments, "dropped in queue at "+p.device+": "):
				lost++
			case strings.Contains(p.comments, "queue "+p.device+" ") && p.device != "unknown":
				slow++
			}
		}
		if lost == 0 || made > len(packets)/5 || wantSlow != (slow > 0) {
			t.Errorf("%s: %d lost, %d slow and %d made of %d", who, lost, slow, made, len(packets))
		}
	}
	file := func(name string) []byte {
		t.Helper()
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return content
	}
	own := filepath.Join(t.TempDir(), "own.pcapng")
	b.output("trace", "--write", own, "--drops", "--once", "5")
	check("own", readWritten(t, file(own)), false)

	b.agent()
	b.affected()
	// Until it is interrupted.
	name := filepath.Join(t.TempDir(), "agent.pcapng")
	cmd := b.command("trace", "--write", name, "--pod", "api")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	enough := func() bool {
		content, _ := os.ReadFile(name)
		return len(content) > 100_000 && bytes.Contains(content, []byte("dropped in queue"))
	}
	for end := time.Now().Add(60 * time.Second); !enough() && time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
	}
	_ = cmd.Process.Signal(unix.SIGINT)
	_ = cmd.Wait()
	check("agent", readWritten(t, file(name)), true)
	if tshark, err := exec.LookPath("tshark"); err == nil {
		out, err := exec.Command(tshark, "-r", name, "-T", "fields", "-e", "frame.interface_name", "-e", "ip.dst", "-e", "_ws.malformed", "-e", "frame.comment").CombinedOutput()
		if lines := strings.Count(string(out), "\n"); err != nil || lines < 10 || strings.Contains(string(out), "alformed") {
			t.Errorf("tshark: %v: %s", err, out)
		}
	}

	if got := readWritten(t, []byte(b.output("trace", "--write", "-", "--once", "3"))); len(got) != 3 {
		t.Errorf("%d packets on standard output", len(got))
	}
	for args, want := range map[string]string{
		"trace --write " + name:             "is there already; remove it",
		"trace --write /dev/full --once 1":  "no space left on device",
		"trace --write /nowhere/x.pcapng":   "no such file",
		"trace --write - -o json":           "give no --output beside it",
		"trace --write - --slower-than -1s": "no negative value",
	} {
		if out, err := b.command(strings.Fields(args)...).CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v: %s; want %q", args, err, out, want)
		}
	}
}

func TestWriteFilter(t *testing.T) {
	t.Parallel()
	queue := trace.StageFilter{Stage: journey.Queue, LongerThan: time.Millisecond}
	for _, test := range []struct {
		given      trace.Filter
		slowerThan bool
		want       trace.Filter
	}{
		{trace.Filter{Pod: "web"}, false, trace.Filter{Pod: "web", SlowerThan: slowByDefault, OrLost: true, Headers: true}},
		{trace.Filter{SlowerThan: time.Second}, true, trace.Filter{SlowerThan: time.Second, OrLost: true, Headers: true}},
		{trace.Filter{}, true, trace.Filter{OrLost: true, Headers: true}}, // --slower-than 0
		{trace.Filter{Stage: queue}, false, trace.Filter{Stage: queue, OrLost: true, Headers: true}},
		{trace.Filter{DropsOnly: true}, false, trace.Filter{DropsOnly: true, Headers: true}},
	} {
		if got := writeFilter(test.given, test.slowerThan); got != test.want {
			t.Errorf("%+v: %+v, want %+v", test.given, got, test.want)
		}
	}
}
