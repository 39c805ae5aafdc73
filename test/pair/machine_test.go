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
	"sync"
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
	if err := send(conn, m.last, script); err != nil {
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

// send sends a command. The first end of line ends what another one has left on the line.
func send(line io.Writer, number int, script string) error {
	_, err := fmt.Fprintf(line, "\n%d %s\n", number, base64.StdEncoding.EncodeToString([]byte(script)))
	return err
}

// boots waits until the machine answers.
func (m *machine) boots(ctx context.Context) error {
	for {
		err := m.greet(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond): // the socket may not be there yet
		}
	}
}

// greet sends the machine's name until there is an answer: what is sent before the line is opened is lost, and a busy machine is slow to answer.
func (m *machine) greet(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", m.line)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	var sender sync.WaitGroup
	defer sender.Wait()
	defer conn.Close()
	m.last++
	number := m.last
	sender.Go(func() {
		for send(conn, number, "hostname "+m.name) == nil {
			time.Sleep(time.Second)
		}
	})
	_, status, err := answer(bufio.NewReader(conn), number)
	if err == nil && status != 0 {
		err = fmt.Errorf("%w with status %d", errCommand, status)
	}
	return err
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
