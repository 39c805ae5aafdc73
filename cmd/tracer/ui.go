package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"tracer/internal/export/api"
	"tracer/internal/loader"
	"tracer/internal/ui"
)

// uiFlags are those of the page.
type uiFlags struct {
	tracingFlags
	socket    string
	port      int
	noBrowser bool
}

func newUICommand() *cobra.Command {
	var flags uiFlags
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Look at this node in a browser: findings, pairs, the way of a pair",
		Long: `Look at this node in a browser: what is wrong, pairs of workloads and where their time
goes, and the way of a pair as a picture, with each stage's time now and as usual.

The page is served on 127.0.0.1 until Ctrl-C, and shows only to who has the address that
is printed: a token stands in it. On another machine, forward the port there and open the
address as it is. The page needs no other network.

Where an agent runs in this network namespace it is asked; elsewhere the command traces
by itself.`,
		Example: `  $tracer ui
  $tracer ui --port 8080              # there: ssh -L 8080:127.0.0.1:8080 NODE
  kubectl exec -n tracer -it ds/tracer -- /tracer ui --port 8080`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return flags.run(cmd) },
	}
	f := cmd.Flags()
	f.IntVar(&flags.port, "port", 0, "port on 127.0.0.1 (default: one that is free)")
	f.BoolVar(&flags.noBrowser, "no-browser", false, "only print the address")
	f.StringVar(&flags.socket, "socket", "", "the agent's socket (default: that of this network namespace's agent)")
	flags.add(cmd)
	return cmd
}

func (f *uiFlags) run(cmd *cobra.Command) error {
	if f.port < 0 || f.port > 65535 {
		return fmt.Errorf("--port %d: give one from 1 to 65535", f.port)
	}
	if f.socket != "" {
		return f.serve(cmd.Context(), cmd, ui.Relay(f.socket))
	}
	files, err := loader.CurrentFiles(f.runDir)
	if err != nil {
		return err
	}
	return f.withSource(cmd.Context(), func(ctx context.Context, s source, _ bool) error {
		if own, ok := s.(*node); ok {
			return f.serve(ctx, cmd, api.Handler(own, own.names))
		}
		return f.serve(ctx, cmd, ui.Relay(files.Socket()))
	})
}

// serve shows the page until ctx ends.
func (f *uiFlags) serve(ctx context.Context, cmd *cobra.Command, agent http.Handler) error {
	server, err := ui.New(ui.Options{Agent: agent, Port: f.port})
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\nCtrl-C ends it\n", server.URL())
	if !f.noBrowser {
		if err := openBrowser(server.URL()); err != nil {
			slog.Warn("cannot open a browser; open the address by hand", "error", err)
		}
	}
	return server.Serve(ctx)
}

// openBrowser has the desktop open an address, if there is one. Browsers do not run as root: under sudo the one who called it opens it.
func openBrowser(address string) error {
	if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
		return nil
	}
	cmd := exec.Command("xdg-open", address)
	if caller := os.Getenv("SUDO_UID"); caller != "" && os.Geteuid() == 0 {
		who, err := user.LookupId(caller)
		if err != nil {
			return fmt.Errorf("look up who called sudo: %w", err)
		}
		uid, err := strconv.ParseUint(who.Uid, 10, 32)
		if err != nil {
			return fmt.Errorf("look up who called sudo: %w", err)
		}
		gid, err := strconv.ParseUint(who.Gid, 10, 32)
		if err != nil {
			return fmt.Errorf("look up who called sudo: %w", err)
		}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		cmd.Env = append(os.Environ(), "HOME="+who.HomeDir, "USER="+who.Username, "XDG_RUNTIME_DIR=/run/user/"+who.Uid)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the browser: %w", err)
	}
	go func() { _ = cmd.Wait() }() // how it ends is not ours to tell
	return nil
}
