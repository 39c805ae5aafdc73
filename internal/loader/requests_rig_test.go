package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf/ringbuf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
	"tracer/test/steady"
)

// watchAll has the requests of all connections timed.
var watchAll = bpfobj.TracerConfig{WatchBelow: AllConnections, LookBelow: AllConnections, WatchWeight: 1}

// passing is a packet at a pod's device: of TCP unless it has no flags and udp is set.
type passing struct {
	pod      bool // the pod sends it
	flags    string
	seq, ack uint32
	bytes    int
	udp      bool
	id       string        // what a datagram begins with
	wait     time.Duration // before it
	// want is what it brings to its end: "answered 3" if that is the request whose last packet was step 3; with a "+" if a part
	// of it was sent again.
	want string
}

func (s *passing) packet(v6 bool, local, remote string, localPort, remotePort uint16) []byte {
	src, dst, srcPort, dstPort := local, remote, localPort, remotePort
	if !s.pod {
		src, dst, srcPort, dstPort = dst, src, dstPort, srcPort
	}
	payload := s.id + strings.Repeat("x", min(s.bytes, 1000)-len(s.id))
	protocol, transport := uint8(unix.IPPROTO_TCP), tcp(srcPort, dstPort, s.seq, payload)
	if s.udp {
		protocol, transport = unix.IPPROTO_UDP, udp(srcPort, dstPort, []byte(payload))
	} else {
		binary.BigEndian.PutUint32(transport[8:], s.ack)
		for bit, name := range "FSRPA" {
			if strings.ContainsRune(s.flags, name) {
				transport[13] |= 1 << bit
			}
		}
	}
	// A test run takes no packet that is longer than a page: of those the header tells the length alone.
	whole := len(transport) + s.bytes - len(payload)
	if v6 {
		header := ipv6(src, dst, protocol, transport)
		binary.BigEndian.PutUint16(header[4:], uint16(whole))
		return join(ethernet(unix.ETH_P_IPV6), header)
	}
	return join(ethernet(unix.ETH_P_IP), ipv4{src: src, dst: dst, protocol: protocol, total: uint16(20 + whole)}.over(transport))
}

// requests empties the ring of the records of requests.
func (k *kernel) requests() (all []record.Record) {
	k.Helper()
	reader, err := ringbuf.NewReader(k.objects.Records)
	if err != nil {
		k.Fatal(err)
	}
	defer reader.Close()
	reader.SetDeadline(time.Now().Add(-time.Second))
	for {
		raw, err := reader.Read()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return all
		} else if err != nil {
			k.Fatal(err)
		}
		if !isRequest(raw.RawSample) {
			continue
		}
		d, err := decodeRequest(raw.RawSample)
		var r record.Record
		if err == nil {
			err = convertRequest(d, &r)
		}
		if err != nil {
			k.Fatal(err)
		}
		all = append(all, r)
	}
}

var outcomeNames = map[record.Outcome]string{record.Answered: "answered", record.Connected: "connected", record.GivenUp: "given-up", record.Closed: "closed"}

// opening is how a connection opens that the pod asks for, or that it is asked for: that counts once the client goes on. Its payload begins
// at 101, the other end's at 501.
func opening(pod bool) []passing {
	connected := ""
	if pod {
		connected = "connected 0"
	}
	return []passing{
		{pod: pod, flags: "S", seq: 100},
		{pod: !pod, flags: "SA", seq: 500, ack: 101, want: connected},
		{pod: pod, flags: "A", seq: 101, ack: 501},
	}
}

// pause is longer than one writes at a request.
const pause = time.Millisecond

// datagrams are a question, which is step n, with two answers.
func datagrams(n int) []passing {
	return []passing{{udp: true, pod: true, bytes: 30}, {udp: true, bytes: 80, want: fmt.Sprint("answered ", n)}, {udp: true, bytes: 80}}
}

// farewell is longer than the time in which a client that closes behind its payload has asked nothing with it.
const farewell = 15 * time.Millisecond

// play passes packets, and checks the requests that they bring to their end.
func (k *kernel) play(steps []passing, v6 bool, local, remote string, localPort, remotePort uint16) {
	k.Helper()
	steady.Measure(k, func() string {
		k.Helper()
		return k.playOnce(steps, v6, local, remote, localPort, remotePort)
	})
}

// playOnce returns why that says nothing, or "".
func (k *kernel) playOnce(steps []passing, v6 bool, local, remote string, localPort, remotePort uint16) string {
	k.Helper()
	passed := make([][2]time.Duration, len(steps))
	for i := range steps {
		s := &steps[i]
		time.Sleep(s.wait)
		passed[i][0] = Monotonic()
		place := k.podL2
		if s.pod {
			place = k.fromPodL2
		}
		k.pass(place, s.packet(v6, local, remote, localPort, remotePort), 0)
		passed[i][1] = Monotonic()
		took := passed[i][1] - passed[max(0, i-2)][0] - s.wait
		if i > 1 {
			took -= steps[i-1].wait
		}
		if i > 0 && s.udp && took > 150*time.Millisecond {
			k.requests()
			k.reset()
			return fmt.Sprintf("step %d: a datagram that comes %v late looks as if it were sent again", i, took)
		}
		got := ""
		for _, r := range k.requests() {
			got = outcomeNames[r.Request.Outcome]
			for at, times := range passed[:i+1] {
				if asked := r.Hops[0].Time; asked >= times[0] && asked <= times[1] {
					got += fmt.Sprint(" ", at)
				}
			}
			if r.Request.Repeated {
				got += "+"
			}
			until := passed[i]
			if r.Request.Outcome == record.Connected && !r.Request.Client {
				until = passed[1] // the SYN-ACK
			}
			closed := slices.IndexFunc(steps[:i], func(s passing) bool { return s.pod == r.Request.Client && strings.Contains(s.flags, "F") })
			if r.Request.Outcome == record.GivenUp && closed >= 0 {
				until = passed[closed]
			}
			if r.Time < until[0] || r.Time > until[1] || r.Request.Took != r.Time-r.Hops[0].Time {
				k.Errorf("step %d: it took %v until %v", i, r.Request.Took, r.Time)
			}
			want := flow(local, remote, localPort, remotePort, record.ProtocolTCP)
			if s.udp {
				want.Protocol = unix.IPPROTO_UDP
			}
			if r.First != want || r.Weight != 1 || r.Hops[0].Ifindex != 1 || r.Request.Client != (localPort >= 32768 && remotePort < 32768) {
				k.Errorf("step %d: %+v of %+v", i, r.Request, r)
			}
		}
		if got != s.want {
			k.Errorf("step %d: %q, want %q", i, got, s.want)
		}
	}
	return ""
}

// watchedSlots is how many connections have a slot.
func (k *kernel) watchedSlots() (used int) {
	for i := range k.watched {
		for _, tag := range k.watched[i].Tag {
			if tag != 0 {
				used++
			}
		}
	}
	return used
}
