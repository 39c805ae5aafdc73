package pair

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// machine is one of the emulated machines, reached over its serial line.
type machine struct {
	name string
	line string // unix socket, see test/vm
	last int    // number of the last command
}

// errCommand is that a command ended with another status than 0.
var errCommand = errors.New("it failed")

// run runs a bash script there and returns what it printed.
func (m *machine) run(ctx context.Context, script string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", m.line)
	if err != nil {
		return "", fmt.Errorf("%s: %w", m.name, err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	m.last++
	// The first end of line ends what another command has left on the line.
	if _, err := fmt.Fprintf(conn, "\n%d %s\n", m.last, base64.StdEncoding.EncodeToString([]byte(script))); err != nil {
		return "", fmt.Errorf("%s: %w", m.name, err)
	}
	said, status, err := answer(bufio.NewReader(conn), m.last)
	switch {
	case ctx.Err() != nil:
		return "", fmt.Errorf("%s: %s: %w", m.name, script, context.Cause(ctx))
	case err != nil:
		return "", fmt.Errorf("%s: %s: %w", m.name, script, err)
	case status != 0:
		return said, fmt.Errorf("%s: %s: %w with status %d: %s", m.name, script, errCommand, status, said)
	}
	return said, nil
}

// answer reads what a command of that number printed, and its status. Before it there may be what is left of others.
func answer(r *bufio.Reader, number int) (said string, status int, err error) {
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return "", 0, fmt.Errorf("read the answer: %w", err)
		}
		_, note, found := strings.Cut(line, "\x16said ")
		var n, length int
		if _, err := fmt.Sscan(note, &n, &status, &length); !found || err != nil || n != number {
			continue
		}
		b := make([]byte, length)
		_, err = io.ReadFull(r, b)
		return string(b), status, err
	}
}

// boots waits until the machine answers.
func (m *machine) boots(ctx context.Context) error {
	for patience := 5 * time.Second; ; patience *= 2 { // what is sent before the line is opened is lost, and a busy machine is slow to answer
		try, cancel := context.WithTimeout(ctx, patience)
		_, err := m.run(try, "hostname "+m.name)
		cancel()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		time.Sleep(100 * time.Millisecond) // the socket may not be there yet
	}
}

// runJSON runs a script and decodes what it printed.
func (m *machine) runJSON(ctx context.Context, script string, to any) error {
	said, err := m.run(ctx, script)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(said), to); err != nil {
		return fmt.Errorf("%s: %s: %w: %q", m.name, script, err, said)
	}
	return nil
}
