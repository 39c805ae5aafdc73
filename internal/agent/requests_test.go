package agent

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/internal/record"
	"tracer/test/steady"
)

// asking is a request as the applications at both ends saw it, by their own clock, which is the kernel's.
type asking struct {
	port               uint16        // the client's
	sent, answered     time.Duration // by the client: before it wrote, after it had read the answer's first byte
	received, worked   time.Duration // by the server: after it had read all, before it wrote
	kept               bool          // not the first one of its connection
	bytes, answerBytes int
}

// answering serves requests that begin with their length, the answer's, how long to work, and which one they are.
type answering struct {
	mu   sync.Mutex
	seen map[uint32][2]time.Duration
}

const askingHeader = 16

func (s *answering) note(id uint32, received, worked time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen[id] = [2]time.Duration{received, worked}
}

func (s *answering) serve(conn net.Conn) {
	head := make([]byte, askingHeader)
	for {
		if _, err := io.ReadFull(conn, head); err != nil {
			return
		}
		rest := int64(binary.BigEndian.Uint32(head)) - askingHeader
		if _, err := io.CopyN(io.Discard, conn, rest); err != nil {
			return
		}
		received := loader.Monotonic()
		time.Sleep(time.Duration(binary.BigEndian.Uint32(head[8:])))
		s.note(binary.BigEndian.Uint32(head[12:]), received, loader.Monotonic())
		if _, err := conn.Write(make([]byte, binary.BigEndian.Uint32(head[4:]))); err != nil {
			return
		}
	}
}

func (s *answering) serveDatagrams(conn net.PacketConn) {
	b := make([]byte, 2048)
	for {
		_, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		received := loader.Monotonic()
		time.Sleep(time.Duration(binary.BigEndian.Uint32(b[8:])))
		s.note(binary.BigEndian.Uint32(b[12:]), received, loader.Monotonic())
		if _, err := conn.WriteTo(b[:binary.BigEndian.Uint32(b[4:])], from); err != nil {
			return
		}
	}
}

// askOnce asks once on a connection, and reads the answer.
func askOnce(conn net.Conn, id uint32, bytes, answerBytes int, work time.Duration) (a asking, err error) {
	b := make([]byte, bytes)
	for at, n := range []uint32{uint32(bytes), uint32(answerBytes), uint32(work), id} {
		binary.BigEndian.PutUint32(b[4*at:], n)
	}
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return a, err
	}
	a = asking{bytes: bytes, answerBytes: answerBytes, sent: loader.Monotonic()}
	switch local := conn.LocalAddr().(type) {
	case *net.TCPAddr:
		a.port = uint16(local.Port)
	case *net.UDPAddr:
		a.port = uint16(local.Port)
	}
	if _, err := conn.Write(b); err != nil {
		return a, err
	}
	b = make([]byte, 64<<10)
	n, err := conn.Read(b)
	a.answered = loader.Monotonic()
	for got := n; err == nil && got < answerBytes; got += n {
		n, err = conn.Read(b)
	}
	return a, err
}

// requestLog is the records of requests of one node.
type requestLog struct {
	mu  sync.Mutex
	all []record.Record
}

func (l *requestLog) add(batch []record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range batch {
		if batch[i].Kind == record.Requested {
			l.all = append(l.all, batch[i])
		}
	}
}

func (l *requestLog) clear() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = nil
}

// byPort are the answered requests to a port, by the client's, in the order of their times.
func (l *requestLog) byPort(client bool, server uint16) (found map[uint16][]record.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	found = map[uint16][]record.Record{}
	for i := range l.all {
		r := &l.all[i]
		from, to := r.First.Source.Port(), r.First.Destination.Port()
		if !r.Request.Client {
			from, to = to, from
		}
		if r.Request.Client == client && r.Request.Outcome == record.Answered && to == server {
			found[from] = append(found[from], *r)
		}
	}
	for _, list := range found {
		slices.SortFunc(list, func(x, y record.Record) int { return int(x.Time - y.Time) })
	}
	return found
}

// askedCluster is a cluster of which the test sees the requests of both nodes, with a server in api.
func askedCluster(t *testing.T) (c *cluster, logs []*requestLog, server *answering) {
	t.Helper()
	// The load's own requests are few: they are counted with the others.
	c = newCluster(t, load.Config{Rate: 0.2, Size: 90}, func(o *Options) {
		log := &requestLog{}
		logs = append(logs, log)
		o.observed = log.add
	})
	server = &answering{seen: map[uint32][2]time.Duration{}}
	api, _ := c.lab.Pod(lab.API)
	serve(t, api, askedPort, server.serve)
	err := api.Do(func() error {
		conn, err := net.ListenPacket("udp", fmt.Sprintf(":%d", askedPort))
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			go server.serveDatagrams(conn)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// The first connections are watched as soon as the table was looked at once.
	for i := range c.agents {
		c.eventually(20*time.Second, "connections are watched", func() (bool, string) { return c.agents[i].watched.oneIn.Load() > 0, "" })
	}
	return c, logs, server
}

const askedPort = 7010

// asked are requests of web to api, by TCP on new and on kept connections, and by UDP.
func (c *cluster) asked(connections, each, bytes, answerBytes int, work time.Duration, network string, ids *uint32) (all []asking) {
	c.Helper()
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	for range connections {
		var conn net.Conn
		err := web.Do(func() (err error) {
			conn, err = net.DialTimeout(network, fmt.Sprintf("%s:%d", api.Address, askedPort), 20*time.Second)
			return err
		})
		if err != nil {
			c.Fatal(err)
		}
		for i := range each {
			*ids++
			a, err := askOnce(conn, *ids, bytes, answerBytes, work)
			if err != nil {
				c.Fatal(err)
			}
			a.kept = i > 0
			all = append(all, a)
		}
		conn.Close()
	}
	return all
}

// TestRequestTimes compares the times of requests with the applications' own, one by one. Both are of one clock, so that each
// packet passed between what the two ends noted before and after it: however busy the machine is.
func TestRequestTimes(t *testing.T) {
	t.Parallel()
	c, logs, server := askedCluster(t)
	var ids uint32
	for _, test := range []struct {
		name               string
		connections, each  int
		bytes, answerBytes int
		network            string
	}{
		{"new connections", 20, 1, 100, 600, "tcp"},
		{"kept connections", 2, 20, 100, 600, "tcp"},
		{"a large request", 2, 4, 1 << 20, 100, "tcp"},
		{"a large answer", 2, 4, 100, 1 << 20, "tcp"},
		{"datagrams", 4, 5, 100, 100, "udp"},
	} {
		for _, log := range logs { // a port may come again
			log.clear()
		}
		first := ids
		all := c.asked(test.connections, test.each, test.bytes, test.answerBytes, 5*time.Millisecond, test.network, &ids)
		nth := map[uint16]int{}
		var client, served []time.Duration // how far they are off
		for i := range all {
			a := &all[i]
			server.mu.Lock()
			noted := server.seen[first+uint32(i)+1]
			server.mu.Unlock()
			a.received, a.worked = noted[0], noted[1]
			at := nth[a.port]
			nth[a.port]++
			var times [2]record.Record
			for node, log := range logs {
				isClient := node == 0
				c.eventually(20*time.Second, fmt.Sprintf("%s: request %d of port %d at node%d", test.name, at, a.port, node+1), func() (bool, string) {
					found := log.byPort(isClient, askedPort)[a.port]
					if len(found) <= at {
						return false, fmt.Sprint(len(found), " found")
					}
					times[node] = found[at]
					return true, ""
				})
				r := &times[node]
				asked, answered := r.Hops[0].Time, r.Time
				if asked < a.sent || asked > a.received || answered < a.worked || answered > a.answered {
					t.Errorf("%s: request %d at node%d was asked at %v and answered at %v; it was sent at %v, received by %v, answered from %v on and read by %v",
						test.name, i, node+1, asked, answered, a.sent, a.received, a.worked, a.answered)
				}
			}
			if times[1].Hops[0].Time < times[0].Hops[0].Time || times[1].Time > times[0].Time {
				t.Errorf("%s: request %d: the server's node had it from %v to %v, the client's from %v to %v", test.name, i,
					times[1].Hops[0].Time, times[1].Time, times[0].Hops[0].Time, times[0].Time)
			}
			client = append(client, a.answered-a.sent-times[0].Request.Took)
			served = append(served, times[1].Request.Took-(a.worked-a.received))
		}
		slices.Sort(client)
		slices.Sort(served)
		t.Logf("%s: %d requests; the client's time is less than its application's by %v (p50), %v (p90); the server's more than its application's by %v (p50), %v (p90)",
			test.name, len(all), client[len(client)/2], client[len(client)*9/10], served[len(served)/2], served[len(served)*9/10])
	}
}

// TestRequestRate asks 5,000 times a second, an emulated machine 1,000 times, over as many kept connections as that takes. Each request is timed
// between what both ends noted, at both nodes, and none is missing, at whatever rate the machine reaches. Where records found no room it asks again.
func TestRequestRate(t *testing.T) {
	t.Parallel()
	c, logs, server := askedCluster(t)
	rate := 5000
	if steady.InGuest() {
		rate = 1000
	}
	try := -1
	steady.Measure(t, func() string {
		try++
		return c.askAtRate(logs, server, try, rate)
	})
}

// askAtRate asks so many times a second, for three seconds. Returns why that says nothing, or "".
func (c *cluster) askAtRate(logs []*requestLog, server *answering, try, rate int) string {
	c.Helper()
	const (
		eachRate, seconds = 50, 3 // of a connection
		each              = eachRate * seconds
		work              = 2 * time.Millisecond
	)
	connections := rate / eachRate
	first := uint32(try*connections*each + 1) // the first one's number
	missed := func(node int) uint64 { return c.now(node).Counts.MissedRecords }
	var before [2]uint64
	for node, log := range logs {
		log.clear()
		before[node] = missed(node)
	}
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	all := make([][]asking, connections)
	failed := make(chan error, connections)
	var asking sync.WaitGroup
	began := time.Now()
	for n := range connections {
		var conn net.Conn
		err := web.Do(func() (err error) {
			conn, err = net.DialTimeout("tcp", fmt.Sprintf("%s:%d", api.Address, askedPort), 20*time.Second)
			return err
		})
		if err != nil {
			c.Fatal(err)
		}
		asking.Go(func() {
			defer conn.Close()
			tick := time.NewTicker(time.Second / eachRate)
			defer tick.Stop()
			for i := range each {
				a, err := askOnce(conn, first+uint32(n*each+i), 100, 600, work)
				if err != nil {
					failed <- err
					return
				}
				all[n] = append(all[n], a)
				<-tick.C
			}
		})
	}
	asking.Wait()
	took := time.Since(began)
	close(failed)
	for err := range failed {
		c.Fatal(err)
	}
	c.Logf("%.0f requests a second", float64(connections*each)/took.Seconds())
	for node, log := range logs {
		isClient := node == 0
		var found map[uint16][]record.Record
		lost := uint64(0)
		c.eventually(20*time.Second, fmt.Sprintf("all are known at node%d", node+1), func() (bool, string) {
			found = log.byPort(isClient, askedPort)
			n := 0
			for _, list := range all { // those of a try before may come late
				n += len(found[list[0].port])
			}
			lost = missed(node) - before[node]
			return n >= connections*each || lost > 0, fmt.Sprintf("%d of %d", n, connections*each)
		})
		if lost > 0 {
			return fmt.Sprintf("node%d: %d records found no room", node+1, lost)
		}
		outside := 0
		for n, list := range all {
			got := found[list[0].port]
			if len(got) != each {
				c.Fatalf("node%d: %d requests of a connection, want %d", node+1, len(got), each)
			}
			for i, a := range list {
				server.mu.Lock()
				noted := server.seen[first+uint32(n*each+i)]
				server.mu.Unlock()
				if asked, answered := got[i].Hops[0].Time, got[i].Time; asked < a.sent || asked > noted[0] || answered < noted[1] || answered > a.answered || got[i].Weight != 1 {
					outside++
				}
			}
		}
		if outside > 0 {
			c.Errorf("node%d: %d of %d requests are timed from before they were sent, or until after they were answered, or the like", node+1, outside, connections*each)
		}
	}
	return ""
}

// TestRemoteAndServer adds 500 ms to the network, and then to the application: each moves its own figure alone.
func TestRemoteAndServer(t *testing.T) {
	t.Parallel()
	c, _, _ := askedCluster(t)
	var ids uint32
	p50s := func(work time.Duration) (client, server float64) {
		from := []*aggregate.Snapshot{c.agents[0].Snapshot(), c.agents[1].Snapshot()}
		web, _ := c.lab.Pod(lab.Web)
		api, _ := c.lab.Pod(lab.API)
		count := func(node int) *aggregate.Requests {
			for _, p := range c.agents[node].Snapshot().Since(from[node]).Pairs {
				if p.SrcWorkload == web.Name && p.DstWorkload == api.Name && p.Requests != nil {
					return p.Requests
				}
			}
			return &aggregate.Requests{}
		}
		c.asked(1, 10, 100, 100, work, "tcp", &ids)
		c.eventually(20*time.Second, "requests are counted", func() (bool, string) {
			one, other := count(0).Client.Answered.Count(), count(1).Server.Answered.Count()
			return one >= 10 && other >= 10, fmt.Sprint(one, other)
		})
		return count(0).Client.Answered.Quantile(0.5), count(1).Server.Answered.Quantile(0.5)
	}
	const extra = 0.5
	near := func(got, want float64) bool { return got > want-0.05*extra && got < want+0.2*extra }
	quiet, quietServer := p50s(2 * time.Millisecond)
	slow, slowServer := p50s(502 * time.Millisecond)
	again, againServer := p50s(2 * time.Millisecond) // these ten take little time: others may have had the CPU in it
	quiet, quietServer = min(quiet, again), min(quietServer, againServer)
	t.Logf("client and server: %.4f and %.4f s; with a slow server %.4f and %.4f", quiet, quietServer, slow, slowServer)
	if !near(slow-quiet, extra) || !near(slowServer-quietServer, extra) || (slow-slowServer)-(quiet-quietServer) > 0.2*extra {
		t.Error("a server that is slow by 500 ms is to take its time on both sides, and nothing is to be remote")
	}
	exact := true
	if _, err := c.lab.Fault(lab.Fault{Node: "node1", Delay: 500 * time.Millisecond, Tool: lab.Netem}); err != nil {
		// Without netem each packet waits until there are tokens for it: of a request's bytes alone some 0.4 s.
		exact = false
		if _, err := c.lab.Fault(lab.Fault{Node: "node1", Rate: 4000, Tool: lab.TBF}); err != nil {
			t.Fatal(err)
		}
		c.asked(1, 10, 100, 100, 0, "tcp", &ids) // takes the tokens that are there
	}
	far, farServer := p50s(2 * time.Millisecond)
	t.Logf("with a slow network %.4f and %.4f s", far, farServer)
	if exact && !near(far-quiet, extra) || far-quiet < 0.4*extra || farServer-quietServer > 0.2*extra {
		t.Error("a network that is slow by 500 ms is to take time on the client's side alone")
	}
}
