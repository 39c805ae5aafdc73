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
	// patience is how much later another packet must have been sent whose answer is here, for a packet to be lost. It has no
	// need of a clock: a machine that stands still loses nothing.
	patience = time.Second
	packet   = 200 // bytes
)

// tally is what became of the packets to one address. A packet is lost as long as no answer comes: on a machine that stands still
// packets may overtake each other.
type tally struct {
	mu       sync.Mutex
	Sent     uint64 `json:"sent"`
	Answered uint64 `json:"answered"`
	Lost     uint64 `json:"lost"`
	// open are the packets of which neither is known yet, oldest first, by number.
	open []open
	lost map[uint64]bool // those of Lost, by number
}

type open struct {
	number   uint64
	sent     time.Time
	answered bool
}

// next is the number of a packet that is sent now.
func (t *tally) next(now time.Time) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Sent++
	t.open = append(t.open, open{number: t.Sent, sent: now})
	return t.Sent
}

// answer is that of a packet.
func (t *tally) answer(number uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lost[number] {
		delete(t.lost, number)
		t.Lost--
		t.Answered++
	}
	if len(t.open) == 0 || number < t.open[0].number || number > t.Sent {
		return
	}
	o := &t.open[number-t.open[0].number]
	if o.answered {
		return
	}
	o.answered = true
	t.Answered++
	given := o.sent.Add(-patience)
	for len(t.open) > 0 && (t.open[0].answered || t.open[0].sent.Before(given)) {
		if !t.open[0].answered {
			if t.lost == nil {
				t.lost = map[uint64]bool{}
			}
			t.lost[t.open[0].number] = true
			t.Lost++
		}
		t.open = t.open[1:]
	}
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
	for range time.Tick(interval) {
		binary.BigEndian.PutUint64(data, t.next(time.Now()))
		if _, err := c.Write(data); err != nil {
			_, _ = c.Write(data) // that was the answer to the one before, from where nobody listens; nothing was sent
		}
	}
}

func (t *tally) receive(c *net.UDPConn) {
	data := make([]byte, packet)
	for {
		if n, err := c.Read(data); err == nil && n == packet {
			t.answer(binary.BigEndian.Uint64(data))
		}
	}
}
