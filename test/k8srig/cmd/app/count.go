package main

import (
	"encoding/binary"
	"encoding/json"
	"net"
	"os"
	"strings"
	"sync"
	"time"
)

const (
	// interval is the time between two packets to one address.
	interval = 5 * time.Millisecond
	// patience is how long an answer may take: longer than this machine ever stands still.
	patience = 3 * time.Second
	packet   = 200 // bytes
)

// tally is what became of the packets to one address.
type tally struct {
	mu       sync.Mutex
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"` // not answered within patience
	// open are the packets of which neither is known yet, oldest first, by number.
	open []open
}

type open struct {
	number   uint64
	sent     time.Time
	answered bool
}

// count sends packets with numbers to each address, and prints once a second, as JSON, what became of them.
func count(targets []string) {
	tallies := map[string]*tally{}
	for _, target := range targets {
		name, address, ok := strings.Cut(target, "=")
		if !ok {
			name, address = target, target
		}
		conn, err := net.Dial("udp", address)
		if err != nil {
			fail(err)
		}
		c := conn.(*net.UDPConn)
		roomy(c)
		t := &tally{}
		tallies[name] = t
		go t.receive(c)
		go t.send(c)
	}
	out := json.NewEncoder(os.Stdout)
	for range time.Tick(time.Second) {
		for _, t := range tallies {
			t.mu.Lock()
		}
		if err := out.Encode(tallies); err != nil {
			fail(err)
		}
		for _, t := range tallies {
			t.mu.Unlock()
		}
	}
}

func (t *tally) send(c *net.UDPConn) {
	data := make([]byte, packet)
	for now := range time.Tick(interval) {
		t.mu.Lock()
		t.Sent++
		binary.BigEndian.PutUint64(data, t.Sent)
		t.open = append(t.open, open{number: t.Sent, sent: now})
		for len(t.open) > 0 && (t.open[0].answered || time.Since(t.open[0].sent) > patience) {
			if !t.open[0].answered {
				t.Lost++
			}
			t.open = t.open[1:]
		}
		t.mu.Unlock()
		_, _ = c.Write(data) // refused, where nobody listens: then nobody answers
	}
}

func (t *tally) receive(c *net.UDPConn) {
	data := make([]byte, packet)
	for {
		n, err := c.Read(data)
		if err != nil || n != packet {
			continue
		}
		number := binary.BigEndian.Uint64(data)
		t.mu.Lock()
		if len(t.open) > 0 && number >= t.open[0].number {
			if i := number - t.open[0].number; i < uint64(len(t.open)) && !t.open[i].answered {
				t.open[i].answered = true
				t.Answered++
			}
		}
		t.mu.Unlock()
	}
}
