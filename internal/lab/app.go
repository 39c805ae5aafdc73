package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tracer/internal/lab/load"
)

// The parts of the application.
const (
	Server = "server" // runs in the api pod
	Client = "client" // runs in the web pod
)

// AppOptions say which part of which lab's application to run.
type AppOptions struct {
	Name   string
	RunDir string
	Part   string
}

// args are the arguments that hold the options, after those of Options.App.
func (o AppOptions) args() []string {
	return []string{o.Part, "--name", o.Name, "--run-dir", o.RunDir}
}

// RunApp runs one part of the application in the network namespace of the caller, until ctx ends or the lab
// goes away.
func RunApp(ctx context.Context, o AppOptions) error {
	dir := labDir(o.RunDir, o.Name)
	st, err := readState(dir)
	if err != nil {
		return err
	}
	here := func(f func() error) error { return f() }
	run, err := st.part(o.Part, dir, here)
	if err != nil {
		return err
	}
	return whileExists(ctx, dir, run)
}

// part prepares a part of the application, with its sockets opened through in, and returns what runs it.
func (t *topology) part(name, dir string, in func(func() error) error) (func(context.Context) error, error) {
	switch name {
	case Server:
		server := &load.Server{Dir: dir, Clock: load.Monotonic, Work: t.Load.Work}
		err := in(func() (err error) {
			port := int(t.Service.TargetPort)
			if server.UDP, err = net.ListenUDP("udp", &net.UDPAddr{Port: port}); err != nil {
				return err
			}
			if server.TCP, err = net.ListenTCP("tcp", &net.TCPAddr{Port: port}); err != nil {
				server.UDP.Close()
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
		return server.Serve, nil
	case Client:
		target := netip.AddrPortFrom(t.Service.Address, t.Service.Port).String()
		if t.HostRouting {
			target = netip.AddrPortFrom(t.pod(t.Service.Backend).Address, t.Service.TargetPort).String()
		}
		client := &load.Client{Config: t.Load, Dir: dir, Clock: load.Monotonic}
		client.Dial = func(ctx context.Context, network string) (conn net.Conn, err error) {
			err = in(func() (err error) {
				var d net.Dialer
				conn, err = d.DialContext(ctx, network, target)
				return err
			})
			return conn, err
		}
		return client.Run, nil
	}
	return nil, fmt.Errorf("unknown part %q of the application: choose %s or %s", name, Server, Client)
}

// whileExists runs f until ctx ends or the directory is gone: a lab that was removed leaves no process behind, even if the
// process that built it died before it could write down which it had started.
func whileExists(ctx context.Context, dir string, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
				cancel()
			}
		}
	}()
	return f(ctx)
}

// localApp is the application inside this process.
type localApp struct {
	cancel context.CancelFunc
	group  sync.WaitGroup
	mu     sync.Mutex
	err    error
}

func (a *localApp) start(ctx context.Context, dir string, run func(context.Context) error) {
	a.group.Go(func() {
		if err := whileExists(ctx, dir, run); err != nil {
			a.mu.Lock()
			a.err = errors.Join(a.err, err)
			a.mu.Unlock()
		}
	})
}

func (a *localApp) failure() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.err
}

func (a *localApp) stop() error {
	a.cancel()
	a.group.Wait()
	return a.failure()
}

// startApp starts the server, then the client, and waits until calls are answered.
func (l *Lab) startApp(ctx context.Context, app []string) error {
	if len(app) == 0 {
		run, cancel := context.WithCancel(context.Background()) // until Down, not until Up returns
		l.mu.Lock()
		l.local = &localApp{cancel: cancel}
		l.mu.Unlock()
		for _, where := range [][2]string{{Server, API}, {Client, Web}} {
			if !l.st.here(l.st.pod(where[1]).Node) {
				continue
			}
			f, err := l.st.part(where[0], l.dir, l.st.pod(where[1]).Do)
			if err != nil {
				return err
			}
			l.local.start(run, l.dir, f)
		}
		return l.waitForTraffic(ctx)
	}
	if l.st.here(l.st.pod(API).Node) {
		if err := l.startPart(app, Server, API); err != nil {
			return err
		}
		// The server makes its log once it listens.
		err := l.waitFor(ctx, "the server to listen", func() (bool, error) {
			_, err := os.Stat(filepath.Join(l.dir, load.Requests))
			return err == nil, nil
		})
		if err != nil {
			return err
		}
	}
	if l.st.here(l.st.pod(Web).Node) {
		if err := l.startPart(app, Client, Web); err != nil {
			return err
		}
	}
	return l.waitForTraffic(ctx)
}

func (l *Lab) startPart(app []string, part, pod string) error {
	options := AppOptions{Name: l.st.Name, RunDir: l.runDir, Part: part}
	args := append(append([]string{}, app...), options.args()...)
	p, err := startProcess(l.st.pod(pod).Netns, part, args, filepath.Join(l.dir, part+".log"))
	if err != nil {
		return err
	}
	l.st.Processes = append(l.st.Processes, p)
	return l.st.write(l.dir)
}

func (l *Lab) waitForTraffic(ctx context.Context) error {
	if !l.st.here(l.st.pod(Web).Node) {
		return nil // the machine that calls waits
	}
	return l.waitFor(ctx, "the first call to be answered", func() (bool, error) {
		seen, err := l.Oracle(0, load.Monotonic())
		if err != nil {
			return false, err
		}
		return (l.st.Load.Rate == 0 || seen.Response.Received > 0) && (l.st.Load.TCP == 0 || seen.TCP.Count > 0), nil
	})
}

// waitFor waits for a condition that a working application meets within moments.
func (l *Lab) waitFor(ctx context.Context, what string, done func() (bool, error)) error {
	const limit = 15 * time.Second
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("%w after %v", errTimeout, limit))
	defer cancel()
	err := poll(ctx, func() (bool, error) {
		if ok, err := done(); ok || err != nil {
			return ok, err
		}
		return false, l.appFailure()
	})
	if err != nil {
		return fmt.Errorf("wait for %s: %w", what, err)
	}
	return nil
}

var errTimeout = errors.New("timed out")

// appFailure says why a part of the application ended, if one did.
func (l *Lab) appFailure() error {
	l.mu.Lock()
	local := l.local
	l.mu.Unlock()
	if local != nil {
		return local.failure()
	}
	for _, p := range l.st.Processes {
		if !p.running() {
			said, err := os.ReadFile(p.Log)
			return errors.Join(fmt.Errorf("the %s ended, saying %q", p.Part, said), err)
		}
	}
	return nil
}
