package main

import (
	"io"
	"net"
	"testing"
	"time"
)

// All questions are answered, though the next ones come before that.
func TestAnswerEach(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	f := &flow{traffic: traffic{Work: 50 * time.Millisecond}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn, err := listener.AcceptTCP()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		f.answerEach(conn)
	}()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	all := make([]byte, 3*16)
	if _, err := conn.Write(all); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, all); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < f.Work {
		t.Errorf("answered after %v, before the work was done", took)
	}
	conn.Close()
	<-ended
}
