package pair

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestBoots waits for a machine whose line is not there at first, and loses what is sent before it is opened.
func TestBoots(t *testing.T) {
	t.Parallel()
	m := &machine{name: "node1", line: filepath.Join(t.TempDir(), "line")}
	go func() {
		time.Sleep(time.Second)
		listener, err := net.Listen("unix", m.line)
		if err != nil {
			t.Error(err)
			return
		}
		defer listener.Close()
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		lost := 2
		for lines := bufio.NewScanner(conn); lines.Scan(); {
			number, _, found := strings.Cut(lines.Text(), " ")
			if !found {
				continue
			}
			if lost--; lost < 0 {
				fmt.Fprintf(conn, "kernel: hello\n\x16said %s 0 0\n", number)
			}
		}
	}()
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := m.boots(ctx); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("it took %v, though the third command was answered", took)
	}
}
