package pcapng

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
	"tracer/internal/trace"
	"tracer/internal/trace/tracetest"
)

var zero = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

func traceOf(t *testing.T, rec record.Record) trace.Trace {
	t.Helper()
	fifo := netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	made, err := trace.New(&rec, journey.NewDevices([]netdev.Device{
		{Index: tracetest.PodIndex, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: tracetest.OverlayIndex, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem", Handle: "10:"}},
		{Index: tracetest.UplinkIndex, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: fifo},
	}), tracetest.Cluster(), zero)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// packet is what a reader finds.
type packet struct {
	gopacket.CaptureInfo
	data     []byte
	comments []string
	flags    pcapgo.NgEpbFlags
	device   string
}

func read(t *testing.T, file []byte) (packets []packet) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			return packets
		}
		if err != nil {
			t.Fatal(err)
		}
		in, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		p := packet{CaptureInfo: info, data: slices.Clone(data), comments: options.Comments, device: in.Name}
		if options.Flags != nil {
			p.flags = *options.Flags
		}
		if in.LinkType != layers.LinkTypeRaw {
			t.Errorf("%s has link type %v", in.Name, in.LinkType)
		}
		packets = append(packets, p)
	}
}

func TestWriter(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	w, err := New(&file, "tracer test", "a comment")
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, file.Bytes()); len(got) != 0 {
		t.Errorf("%d packets in a file without any", len(got))
	}
	slow, lost := traceOf(t, tracetest.Request(record.Finished)), traceOf(t, tracetest.Request(record.Dropped))
	lost.Drop.Cause, lost.Drop.Meaning = "qdisc-drop", "a qdisc"
	headers := bytes.Repeat([]byte{0x45}, 40)
	slow.Header = &trace.Header{Bytes: headers, Length: 1000, Hook: "xmit", Device: "tunl0", Ifindex: 7, At: int64(500 * time.Millisecond)}
	for _, one := range []trace.Trace{slow, lost, slow} {
		if err := w.Write(&one); err != nil {
			t.Fatal(err)
		}
	}
	got := read(t, file.Bytes())
	if len(got) != 3 || w.Made() != 1 {
		t.Fatalf("%d packets, %d of them made", len(got), w.Made())
	}
	p := got[0]
	if p.device != "tunl0" || !bytes.Equal(p.data, headers) || p.Length != 1000 || !p.Timestamp.Equal(slow.Time.Add(500*time.Millisecond)) ||
		p.flags.Direction != pcapgo.NgEpbFlagDirectionOutbound {
		t.Errorf("%+v", p)
	}
	if want := []string{
		"500ms on this node: forward tunl0 20µs, queue tunl0 500ms, encap tunl0 9µs, queue eth0 3µs",
		"default/web-1 → default/api-1 by service default/api",
		"NAT: 10.244.1.2:4000 → 10.96.0.10:80 became 10.244.1.2:4000 → 10.244.2.3:8080",
		"sampled: stands for 4 packets",
		"headers as they were at tunl0 when its driver got the packet",
	}; !slices.Equal(p.comments, want) {
		t.Errorf("%q, want %q", p.comments, want)
	}
	p = got[1]
	if p.device != "tunl0" || p.Length != 1000 || !p.Timestamp.Equal(lost.Time.Add(25*time.Microsecond)) {
		t.Errorf("%+v", p)
	}
	if want := "dropped in queue at tunl0: QDISC_DROP, by __dev_queue_xmit = qdisc-drop: a qdisc"; p.comments[0] != want || p.comments[len(p.comments)-1] != made {
		t.Errorf("%q, want %q first and last %q", p.comments, want, made)
	}
	ip, segment := decode(t, p.data)
	if ip.SrcIP.String() != "10.244.1.2" || ip.DstIP.String() != "10.244.2.3" || ip.Length != 1000 || ip.TTL != 0 || segment.SrcPort != 4000 || segment.DstPort != 8080 {
		t.Errorf("%+v, %+v", ip, segment)
	}
}

func decode(t *testing.T, data []byte) (*layers.IPv4, *layers.TCP) {
	t.Helper()
	p := gopacket.NewPacket(data, layers.LinkTypeRaw, gopacket.Default)
	ip, ok := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	segment, isTCP := p.Layer(layers.LayerTypeTCP).(*layers.TCP)
	if !ok || !isTCP {
		t.Fatalf("%v", p)
	}
	return ip, segment
}

// TestMade makes headers of all kinds of records.
func TestMade(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		source, destination string
		protocol            record.Protocol
		bytes               uint32
		want                string // layers
		length              int
	}{
		{"10.0.0.1:1", "10.0.0.2:2", record.ProtocolTCP, 1500, "IPv4 TCP", 40},
		{"10.0.0.1:1", "10.0.0.2:2", record.ProtocolUDP, 1500, "IPv4 UDP", 28},
		{"10.0.0.1:0", "10.0.0.2:0", record.ProtocolICMP, 84, "IPv4", 20},
		{"[fd00::1]:1", "[fd00::2]:2", record.ProtocolUDP, 1500, "IPv6 UDP", 48},
		{"[fd00::1]:1", "[fd00::2]:2", record.ProtocolTCP, 100_000, "IPv6", 60},
		{"10.0.0.1:0", "10.0.0.2:0", 0, 10, "IPv4", 20},
	} {
		rec := tracetest.Request(record.Finished)
		rec.First = tracetest.Flow(test.source, test.destination)
		rec.First.Protocol = test.protocol
		rec.Last, rec.IPBytes = rec.First, test.bytes
		one := traceOf(t, rec)
		var file bytes.Buffer
		w, err := New(&file, "tracer test", "")
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Write(&one); err != nil {
			t.Errorf("%v: %v", test, err)
			continue
		}
		p := read(t, file.Bytes())[0]
		var names []string
		for _, l := range gopacket.NewPacket(p.data, layers.LinkTypeRaw, gopacket.Default).Layers() {
			if l.LayerType() != gopacket.LayerTypeDecodeFailure && l.LayerType() != gopacket.LayerTypePayload {
				names = append(names, l.LayerType().String())
			}
		}
		if got := strings.Join(names, " "); !strings.HasPrefix(got, test.want) || len(p.data) != test.length || p.device != "eth0" || p.Length < int(test.bytes) {
			t.Errorf("%v: %s, %d bytes at %s of %d", test, got, len(p.data), p.device, p.Length)
		}
	}
}

// limited is a disk that becomes full.
type limited struct {
	*os.File
	left int
}

func (l *limited) Write(b []byte) (int, error) {
	if len(b) <= l.left {
		l.left -= len(b)
		return l.File.Write(b)
	}
	n, err := l.File.Write(b[:l.left])
	l.left = 0
	return n, errors.Join(err, unix.ENOSPC)
}

// TestFullDisk leaves the packets that there was room for.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	file, err := os.Create(filepath.Join(t.TempDir(), "full.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	w, err := New(&limited{file, 4000}, "tracer test", "")
	if err != nil {
		t.Fatal(err)
	}
	one, written := traceOf(t, tracetest.Request(record.Dropped)), 0
	for err == nil {
		if err = w.Write(&one); err == nil {
			written++
		}
	}
	if !errors.Is(err, unix.ENOSPC) || written == 0 {
		t.Fatalf("%d packets, then %v", written, err)
	}
	b, err := os.ReadFile(file.Name())
	if err != nil {
		t.Fatal(err)
	}
	if got := read(t, b); len(got) != written {
		t.Errorf("%d packets in the file, want %d", len(got), written)
	}
}
