package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"tracer/internal/lab"
)

// traffic is what goes on beside the load, between two pods.
type traffic struct {
	Kind string `yaml:"kind"`
	From string `yaml:"from"` // pods, or nodes; the client may also be the wire
	To   string `yaml:"to"`
	// Port is the server's; by itself one for each traffic. Family is 4 or 6, by itself 4.
	Port   int `yaml:"port"`
	Family int `yaml:"family"`
	// Via is the address that is dialed in place of the server's: a Service's, another node's, or nobody's.
	Via string `yaml:"via"`
	// Several run at the same time, each doing something so often. Size is in bytes.
	Several int           `yaml:"several"`
	Every   time.Duration `yaml:"every"`
	Size    int           `yaml:"size"`
	// Greeting is how many bytes a kept connection exchanges before its first question.
	Greeting int `yaml:"greeting"`
	// Burst is how many datagrams leave at once; of a stream, how many bytes until it pauses.
	Burst int `yaml:"burst"`
	// Read is how many bytes a second the receiver of a stream takes, 0 for all that come.
	Read int `yaml:"read"`
	// Work is for how long a server works at each question before it answers; of calls over TCP, as much more or less as Jitter at most.
	Work   time.Duration `yaml:"work"`
	Jitter time.Duration `yaml:"jitter"`
	// Moves is how often the server of calls moves on to the next of the pods in To and Also.
	Moves time.Duration `yaml:"moves"`
	// Patience is after how long a client gives up to connect, by itself 5 s; or to wait for an answer, where it does.
	Patience time.Duration `yaml:"patience"`
	Also     []string      `yaml:"also"`
	// Buffer is the receive buffer of the server of a stream, in bytes: TCP's window is no larger.
	Buffer int `yaml:"buffer"`
	// What is announced; see announcements.
	What []string `yaml:"what"`
}

// kinds are what traffic can be. Each runs until ctx ends.
var kinds = map[string]func(*flow, context.Context){
	"stream":    (*flow).stream,    // one way over TCP, as fast as it goes or as it is read
	"calls":     (*flow).calls,     // question and answer over TCP, each over a connection of its own
	"keep":      (*flow).keep,      // the same over one connection
	"datagrams": (*flow).datagrams, // question and answer over UDP, each burst from a socket of its own
	"asks":      (*flow).asks,      // question and answer over UDP, all from one socket
	"twins":     (*flow).twins,     // two questions at once from one socket over UDP, as resolvers ask for A and AAAA
	"reports":   (*flow).reports,   // one way over UDP, from one socket
	"knock":     (*flow).knock,     // connects where nobody listens
	"deaf":      (*flow).knock,     // connects where nobody takes the connection
	"probes":    (*flow).probes,    // connects and closes by RST, as kubelet does, or leaves an answer unread
	"nfqueue":   (*flow).nfqueue,   // no traffic: accepts what netfilter hands to user space, each packet so late

	"halfclosed":  (*flow).halfClosed,  // answers come after the client has closed its half
	"pool":        (*flow).pool,        // connections are kept, and end by RST
	"keepalive":   (*flow).keepAlive,   // connections that say nothing but TCP's keep-alives
	"multiplexed": (*flow).multiplexed, // several ask over one connection

	"stuck":    (*flow).impatient, // each over a connection of its own, every second of which is never answered
	"mute":     (*flow).impatient, // likewise, and none is answered
	"cut":      (*flow).impatient, // likewise, and every second is closed instead
	"longpoll": (*flow).impatient, // likewise, and answered once the server has worked, or at once
	"hedged":   (*flow).impatient, // likewise, by a server that closes as soon as its client has

	"announce": (*flow).announce, // to groups and all, from each device of a place
}

func (t traffic) validate() error {
	toNobody := t.Kind == "announce"
	if kinds[t.Kind] == nil || t.From == "" || (t.To == "") != toNobody || t.Family != 0 && t.Family != 4 && t.Family != 6 {
		return fmt.Errorf("traffic %+v: give a known kind, from and to, and a family of 4 or 6", t)
	}
	for _, what := range t.What {
		if _, known := announcements[what]; !known || !toNobody {
			return fmt.Errorf("traffic %+v: %q is none of the announcements", t, what)
		}
	}
	return nil
}

// flow is traffic that goes on. What is done and what failed are bytes of a stream that were received, and else calls.
type flow struct {
	traffic
	client  lab.Pod
	servers []lab.Pod
	via     netip.Addr // of traffic.Via; the zero Addr without one
	port    int
	serving atomic.Int64  // the server in force
	taken   atomic.Int64  // connections that servers have accepted, where they do not treat all alike
	over    chan struct{} // closed when the traffic ends

	done, failed atomic.Int64
	group        sync.WaitGroup
	mu           sync.Mutex
	closers      map[interface{ Close() error }]bool
}

// startTraffic starts all traffic of the scenario and waits until each has done something.
func (p *play) startTraffic(ctx context.Context) error {
	// The traffic ends by stopTraffic, while the lab is still up.
	ctx, p.endTraffic = context.WithCancel(ctx)
	for i, t := range p.Traffic {
		f := &flow{traffic: t, port: 9000 + i, closers: map[interface{ Close() error }]bool{}, over: make(chan struct{})}
		if t.Port != 0 {
			f.port = t.Port
		}
		if t.Via != "" {
			via, err := p.fill(t.Via)
			if err != nil {
				return err
			}
			if f.via, err = netip.ParseAddr(via); err != nil {
				return fmt.Errorf("traffic %d: via: %w", i, err)
			}
		}
		var ok bool
		if f.client, ok = p.end(t.From); !ok {
			return fmt.Errorf("the lab has no pod or node %q", t.From)
		}
		for _, name := range append([]string{t.To}, t.Also...) {
			if name == "" {
				continue // to nobody
			}
			pod, ok := p.end(name)
			if !ok {
				return fmt.Errorf("the lab has no pod or node %q", name)
			}
			f.servers = append(f.servers, pod)
		}
		if err := f.serve(ctx); err != nil {
			return err
		}
		for range max(1, t.Several) {
			f.group.Go(func() { kinds[t.Kind](f, ctx) })
		}
		context.AfterFunc(ctx, func() { close(f.over); f.closeAll() })
		p.traffic = append(p.traffic, f)
	}
	for i, f := range p.traffic {
		if f.Kind == "nfqueue" {
			continue // it waits for what others send
		}
		for until := time.Now().Add(20 * time.Second); f.done.Load()+f.failed.Load() == 0; {
			if time.Now().After(until) {
				return fmt.Errorf("traffic %d (%s) does nothing", i, f.Kind)
			}
			if err := sleep(ctx, 20*time.Millisecond); err != nil {
				return err
			}
		}
	}
	return nil
}

// end is a pod, or a node's own sockets, or what stands between the nodes.
func (p *play) end(name string) (lab.Pod, bool) {
	if name == "wire" {
		return lab.Pod{Name: name, Netns: lab.Namespace(p.lab.Name() + "-wire")}, true
	}
	for _, n := range p.lab.Nodes() {
		if n.Name == name {
			return lab.Pod{Name: n.Name, Node: n.Name, Netns: n.Netns, Address: n.Address, Address6: n.Address6}, true
		}
	}
	return p.lab.Pod(name)
}

func (p *play) stopTraffic() {
	if p.endTraffic != nil {
		p.endTraffic()
	}
	for _, f := range p.traffic {
		f.closeAll()
		f.group.Wait()
	}
}

// keepOpen closes c when the traffic ends.
func (f *flow) keepOpen(c interface{ Close() error }) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closers[c] = true
}

func (f *flow) close(c interface{ Close() error }) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.closers, c)
	_ = c.Close() // whatever it says, the traffic is over
}

func (f *flow) closeAll() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for c := range f.closers {
		_ = c.Close()
	}
}

func (f *flow) network(protocol string) string {
	return protocol + strconv.Itoa(max(4, f.Family))
}

// target is the server in force, or what stands for it.
func (f *flow) target() netip.AddrPort {
	if f.via.IsValid() {
		return netip.AddrPortFrom(f.via, uint16(f.port))
	}
	pod := f.servers[f.serving.Load()]
	address := pod.Address
	if f.Family == 6 {
		address = pod.Address6
	}
	return netip.AddrPortFrom(address, uint16(f.port))
}

// dial connects from the client's namespace.
func (f *flow) dial(ctx context.Context, protocol string) (conn net.Conn, err error) {
	target := f.target().String()
	err = f.client.Do(func() (err error) {
		d := net.Dialer{Timeout: cmp.Or(f.Patience, 5*time.Second)}
		conn, err = d.DialContext(ctx, f.network(protocol), target)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.keepOpen(conn)
	return conn, nil
}

// pause waits for the time between two calls; false at the end.
func (f *flow) pause(ctx context.Context) bool {
	return sleep(ctx, max(f.Every, time.Millisecond)) == nil
}

// count counts a call.
func (f *flow) count(ctx context.Context, err error) {
	if err == nil {
		f.done.Add(1)
	} else if ctx.Err() == nil {
		f.failed.Add(1)
	}
}

func (f *flow) stream(ctx context.Context) {
	block := make([]byte, 64<<10)
	for ctx.Err() == nil {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			f.pause(ctx)
			continue
		}
		for err == nil {
			left := f.Burst
			for err == nil && (f.Burst == 0 || left > 0) {
				n := len(block)
				if f.Burst > 0 {
					n = min(n, left)
				}
				_, err = conn.Write(block[:n])
				left -= n
			}
			if err == nil && !f.pause(ctx) {
				break
			}
		}
		f.close(conn)
	}
}

func (f *flow) calls(ctx context.Context) {
	if f.Moves > 0 {
		f.group.Go(func() { f.move(ctx) })
	}
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err == nil {
			err = f.exchange(conn, f.Size)
			f.close(conn)
		}
		f.count(ctx, err)
	}
}

func (f *flow) keep(ctx context.Context) {
	for ctx.Err() == nil {
		conn, err := f.dial(ctx, "tcp")
		if err == nil && f.Greeting > 0 {
			err = f.exchange(conn, f.Greeting)
		}
		for err == nil {
			if err = f.exchange(conn, f.Size); err == nil {
				f.count(ctx, nil)
				if !f.pause(ctx) {
					break
				}
			}
		}
		f.count(ctx, err)
		if conn != nil {
			f.close(conn)
		}
		f.pause(ctx)
	}
}

// move takes the next server into service as a rolling restart does.
func (f *flow) move(ctx context.Context) {
	for sleep(ctx, f.Moves) == nil {
		f.serving.Store((f.serving.Load() + 1) % int64(len(f.servers)))
	}
}

// exchange sends a question and reads an answer, both of that size.
func (f *flow) exchange(conn net.Conn, size int) error {
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	block := make([]byte, max(16, size))
	if _, err := conn.Write(block); err != nil {
		return err
	}
	_, err := io.ReadFull(conn, block)
	return err
}

func (f *flow) knock(ctx context.Context) {
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err == nil {
			f.close(conn)
		}
		f.count(ctx, err)
	}
}

func (f *flow) probes(ctx context.Context) {
	block := make([]byte, max(16, f.Size))
	for turn := 0; f.pause(ctx); turn++ {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		switch c := conn.(*net.TCPConn); turn % 3 {
		case 0:
			err = c.SetLinger(0) // the close is an RST
		case 1: // one that leaves an answer unread is, too
			if _, err = c.Write(block); err == nil {
				_, err = io.ReadFull(c, block[:8])
			}
		case 2: // and so is the answer to what comes after it
			_, err = c.Write(block)
		}
		f.close(conn)
		f.count(ctx, err)
	}
}
