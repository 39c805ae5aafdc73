package agent

import (
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// silentTo is the conversation of web and api at a port, if it has no answer for so long; the zero one if it has.
func silentTo(s *aggregate.Snapshot, port uint16, least time.Duration) aggregate.Unanswered {
	for _, u := range s.Unanswered {
		if u.SrcWorkload == lab.Web && u.DstWorkload == lab.API && u.Destination.Port() == port && u.First >= least.Seconds() {
			return u
		}
	}
	return aggregate.Unanswered{}
}

// TestNoAnswer takes the way back to a pod away, on the other node: an established connection, clients that wait and those
// that give up within a second have no answer, with TCP's own retransmissions where there are any. Then it gives it back.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 5, Size: 90})
	web, _ := c.lab.Pod(lab.Web)
	api, _ := c.lab.Pod(lab.API)
	const kept, waiting, impatient = 7001, 7002, 7003
	for _, port := range []int{kept, waiting, impatient} {
		serve(t, api, port, func(conn net.Conn) {
			for b := make([]byte, 100); ; {
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				_, _ = conn.Write(b[:n])
			}
		})
	}
	conn, err := dial(t, web, api, kept)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		if _, err := conn.Write([]byte("?")); err != nil {
			return err
		}
		_, err := conn.Read(make([]byte, 1))
		return err
	}
	go func() {
		for ask() == nil {
			time.Sleep(100 * time.Millisecond)
		}
	}()
	c.healthy(0, 5*time.Second)

	route := func(do string) {
		command := exec.Command("ip", "-n", string(c.lab.Node(2).Netns), "route", do, "blackhole", web.Address.String())
		if out, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", strings.Join(command.Args, " "), err, out)
		}
	}
	route("add")
	connect := func(port int, patience time.Duration) {
		for t.Context().Err() == nil {
			if conn, err := dialFor(web, api, port, patience); err == nil {
				conn.Close()
			}
			time.Sleep(300 * time.Millisecond)
		}
	}
	go connect(waiting, time.Minute)
	go connect(impatient, 700*time.Millisecond)

	const lasts = 9 * time.Second
	for _, want := range []struct {
		port        uint16
		established bool // or at least answered before
		resent      bool
	}{{kept, true, true}, {waiting, false, true}, {impatient, false, false}} {
		c.eventually(60*time.Second, "silence", func() (bool, string) {
			s := c.now(0).Counts
			u := silentTo(s, want.port, lasts)
			if u.Tries == 0 {
				return false, "it is answered"
			}
			if want.established != u.Before() || want.resent && u.Retransmits == 0 || !want.resent && u.Retransmits >= u.Connections {
				t.Errorf("port %d: %+v", want.port, u)
			}
			t.Logf("port %d: %d packets of %d connections in %.1f s, %d sent again by TCP, %d answers before", want.port, u.Packets, u.Connections,
				u.First-u.Last, u.Retransmits, u.Answers)
			return true, ""
		})
	}
	if s := c.now(0).Counts; s.AnswersSeen == 0 || s.AnswersUnseen > s.AnswersSeen/10 {
		t.Errorf("TCP received %d packets where hooks saw some, and %d where none did", s.AnswersSeen, s.AnswersUnseen)
	}
	if f := c.judged(0, diagnose.NoAnswer); f.Stage != "" || f.Device != "" || f.Pairs[0].Dst != "default/"+lab.API {
		t.Errorf("at %q %q of %v, want no place on this node, of %s", f.Stage, f.Device, f.Pairs, lab.API)
	}
	if f := c.judged(1, diagnose.NoRoute); f.Pairs[0].Dst != "default/"+lab.Web {
		t.Errorf("the other node says %v", f.Pairs)
	}

	route("del")
	c.eventually(60*time.Second, "answers", func() (bool, string) {
		s := c.now(0).Counts
		for _, port := range []uint16{waiting, impatient} {
			if u := silentTo(s, port, time.Second); u.Tries > 0 {
				return false, u.Destination.String()
			}
		}
		return true, ""
	})
}
