package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sync/errgroup"

	"tracer/internal/ui"
)

// pageQuery is what the page of tracer ui asks as it is opened (ui/src/main.tsx).
const pageQuery = "by=pair&interval=5s&limit=100"

// bePage is tracer ui for the agent on that socket, and what a browser reads of it. It says so on standard output once it has read the
// first overview.
func bePage(ctx context.Context, socket string) error {
	if err := netlink.LinkSetUp(&netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: "lo"}}); err != nil {
		return fmt.Errorf("set lo up: %w", err)
	}
	server, err := ui.New(ui.Options{Agent: ui.Relay(socket)})
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx) })
	group.Go(func() error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+server.Addr().String()+"/v1/overview?"+pageQuery, nil)
		if err != nil {
			return err
		}
		request.Header.Set(ui.TokenHeader, server.Token())
		answer, err := http.DefaultClient.Do(request)
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		lines := bufio.NewReader(answer.Body)
		for first := true; ; first = false {
			if _, err := lines.ReadBytes('\n'); err != nil {
				return err
			}
			if first {
				fmt.Println("open")
			}
		}
	})
	return group.Wait()
}

// watchPage is what the agent spends, and what tracer ui does, in seconds of CPU time, while a page is open for so long.
func watchPage(ctx context.Context, socket string, ours func() (time.Duration, error), each time.Duration) (agent, page float64, err error) {
	self, err := os.Executable()
	if err != nil {
		return 0, 0, err
	}
	cmd := exec.CommandContext(ctx, self, "-be", "page", "-socket", socket)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, fmt.Errorf("start tracer ui: %w", err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, 0, fmt.Errorf("wait for the page's first overview: %w", err)
	}
	before, err1 := cpuTime(processClock(cmd.Process.Pid))
	agent, err2 := spentIn(ctx, each, ours)
	after, err3 := cpuTime(processClock(cmd.Process.Pid))
	return agent, (after - before).Seconds(), errors.Join(err1, err2, err3)
}
