package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/ui"
)

func newUICommand(flags *clusterFlags) *cobra.Command {
	var port int
	var noBrowser bool
	limit := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "ui",
		Short: "Look at the cluster in a browser: what is wrong, nodes, pairs, incidents",
		Long: `Look at the cluster in a browser: what is wrong and on which node, the nodes, and pairs of
workloads, each once, whichever nodes see it. From there to each node: its pairs, the way
of a pair as a picture, its incidents frame by frame.

The page is served on 127.0.0.1 until Ctrl-C, and shows only to who has the address that
is printed: a token stands in it. The agents are asked by streams of kubectl exec, every
10 s while the page is looked at, and stay connected meanwhile.`,
		Example: `  kubectl tracer ui
  kubectl tracer ui --context production --port 8080 --no-browser`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if port < 0 || port > 65535 {
				return fmt.Errorf("--port %d: give one from 1 to 65535", port)
			}
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			server, err := ui.New(ui.Options{Agent: agents.NewSite(c, limit), Cluster: true, Port: port})
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s\nCtrl-C ends it\n", server.URL())
			if !noBrowser {
				if err := openBrowser(server.URL()); err != nil {
					slog.Warn("cannot open a browser; open the address by hand", "error", err)
				}
			}
			return server.Serve(cmd.Context())
		},
	}
	cmd.Flags().IntVar(&port, "port", 0, "port on 127.0.0.1 (default: one that is free)")
	cmd.Flags().BoolVar(&noBrowser, "no-browser", false, "only print the address")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait for the API server, and for each agent")
	return cmd
}

// openBrowser has the desktop open an address.
func openBrowser(address string) error {
	open := map[string][]string{"darwin": {"open"}, "windows": {"rundll32", "url.dll,FileProtocolHandler"}}[runtime.GOOS]
	if open == nil {
		open = []string{"xdg-open"}
	}
	cmd := exec.Command(open[0], append(open[1:], address)...)
	switch err := cmd.Start(); {
	case errors.Is(err, exec.ErrNotFound): // there is no desktop
		return nil
	case err != nil:
		return fmt.Errorf("start the browser: %w", err)
	}
	go func() { _ = cmd.Wait() }() // how it ends is not ours to tell
	return nil
}
