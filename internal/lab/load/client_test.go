package load

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// start runs a server and a client on loopback until the test ends, and returns the directory of their logs.
func start(t *testing.T, config Config) string {
	t.Helper()
	dir := t.TempDir()
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{UDP: udp, TCP: tcp, Dir: dir, Clock: Monotonic, Work: config.Work}
	client := &Client{Config: config, Dir: dir, Clock: Monotonic, Dial: func(_ context.Context, network string) (net.Conn, error) {
		if network == "udp" {
			return net.Dial("udp", udp.LocalAddr().String())
		}
		return net.Dial("tcp", tcp.Addr().String())
	}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- server.Serve(ctx) }()
	go func() { ended <- client.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

// waitEntries waits until a log has at least n entries.
func waitEntries(t *testing.T, path string, n int) []Entry {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		entries, err := ReadLog(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if len(entries) >= n {
			return entries
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s has %d entries after 10 s, want %d", path, len(entries), n)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestCallsAreAnsweredAndLogged(t *testing.T) {
	t.Parallel()
	dir := start(t, Config{Rate: 200, Size: 100, TCP: 10 * time.Millisecond})
	sent := make(map[uint64]time.Duration)
	responses := waitEntries(t, filepath.Join(dir, Responses), 50)
	for _, e := range waitEntries(t, filepath.Join(dir, RequestsSent), len(responses)) {
		sent[e.Seq] = e.Sent
	}
	for _, e := range waitEntries(t, filepath.Join(dir, Requests), len(responses)) {
		if e.Arrived < e.Sent || e.Arrived > e.Received {
			t.Errorf("request %+v arrived before it was sent, or after it was read", e)
		}
		if e.Delay != e.Received-e.Sent || e.Delay <= 0 || e.Delay > time.Second {
			t.Errorf("request %+v: a delay that loopback cannot have", e)
		}
	}
	for _, e := range responses {
		if e.RoundTrip < e.Delay || e.Received-e.RoundTrip != sent[e.Seq] {
			t.Errorf("response %+v does not fit its request, sent at %v", e, sent[e.Seq])
		}
	}
	for _, e := range waitEntries(t, filepath.Join(dir, Calls), 10) {
		if e.Delay <= 0 || e.Received != e.Sent+e.Delay {
			t.Errorf("TCP call %+v", e)
		}
	}
}

// TestServerWorks: a call takes what the server works on it, and none over UDP waits for another.
func TestServerWorks(t *testing.T) {
	t.Parallel()
	const work, rate = 300 * time.Millisecond, 100
	dir := start(t, Config{Rate: rate, Size: 100, TCP: time.Millisecond, Work: work})
	responses := waitEntries(t, filepath.Join(dir, Responses), 50)
	for _, e := range responses {
		if e.RoundTrip < work || e.Delay > e.RoundTrip-work {
			t.Errorf("call %+v was not worked on for %v", e, work)
		}
	}
	if one, all := responses[0].RoundTrip, responses[len(responses)-1].Received-responses[0].Sent; all > time.Duration(len(responses))*work/2 {
		t.Errorf("%d calls took %v, one %v", len(responses), all, one)
	}
	for _, e := range waitEntries(t, filepath.Join(dir, Calls), 2) {
		if e.Delay < work {
			t.Errorf("TCP call %+v was not worked on for %v", e, work)
		}
	}
}

func TestCallsAreKnownByTheirPorts(t *testing.T) {
	t.Parallel()
	const sockets = 8
	dir := start(t, Config{Rate: 500, Size: MinSize, Sockets: sockets})
	waitEntries(t, filepath.Join(dir, Responses), 3*sockets) // each socket hears its answers
	ports := map[uint16]uint64{}
	for _, e := range waitEntries(t, filepath.Join(dir, RequestsSent), 3*sockets) {
		if turn, ok := ports[e.Port]; e.Port == 0 || ok && turn != e.Seq%sockets {
			t.Errorf("call %d was sent from port %d, as was the socket's of turn %d", e.Seq, e.Port, turn)
		}
		ports[e.Port] = e.Seq % sockets
	}
	if len(ports) != sockets {
		t.Errorf("%d ports, want %d", len(ports), sockets)
	}
}

// Calls leave at their own pace though nobody answers. A busy machine may hold the sender up for a while, so one
// stretch at full rate is enough; none may be faster.
func TestOpenLoopKeepsItsRate(t *testing.T) {
	t.Parallel()
	const rate, stretch = 500, 100
	dir := t.TempDir()
	silent, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	client := &Client{Config: Config{Rate: rate, Size: MinSize}, Dir: dir, Clock: Monotonic,
		Dial: func(context.Context, string) (net.Conn, error) { return net.Dial("udp", silent.LocalAddr().String()) }}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	path := filepath.Join(dir, RequestsSent)
	for n := stretch; ; n += stretch {
		entries := waitEntries(t, path, n)
		first, last := entries[0], entries[len(entries)-1]
		if all := float64(last.Seq-first.Seq) / (last.Sent - first.Sent).Seconds(); all > 1.1*rate {
			t.Fatalf("sent %.0f calls a second, want %d", all, rate)
		}
		first = entries[len(entries)-stretch]
		if got := float64(last.Seq-first.Seq) / (last.Sent - first.Sent).Seconds(); got > 0.9*rate {
			break
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TestSocketsFor: a call is alone on its socket for long, unless there are too many.
func TestSocketsFor(t *testing.T) {
	t.Parallel()
	for rate, want := range map[float64]int{0: 1, 0.01: 2, 50: 1601, 100_000: maxSockets} {
		if got := SocketsFor(rate); got != want {
			t.Errorf("%v calls a second: %d sockets, want %d", rate, got, want)
		}
	}
}

func TestConfigValidate(t *testing.T) {
	t.Parallel()
	good := Config{Rate: 50, Size: 100, TCP: 100 * time.Millisecond}
	if err := good.Validate(); err != nil {
		t.Errorf("%+v: %v", good, err)
	}
	for name, bad := range map[string]Config{
		"negative rate": {Rate: -1, Size: 100},
		"no load":       {Size: 100},
		"too small":     {Rate: 1, Size: MinSize - 1},
		"too large":     {Rate: 1, Size: MaxSize + 1},
		"too many":      {Rate: 1, Size: 100, Sockets: maxSockets + 1},
		"hard":          {Rate: 1, Size: 100, Work: maxWork + 1},
		"too much":      {Rate: 1000, Size: 100, Work: 2 * time.Second},
		"lazy":          {Rate: 1, Size: 100, Work: -1},
		"hectic":        {Rate: 1, Size: 100, TCP: time.Microsecond},
	} {
		if err := bad.Validate(); err == nil {
			t.Errorf("%s: %+v is taken", name, bad)
		}
	}
}
