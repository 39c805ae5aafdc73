package main

import (
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/spf13/cobra"

	"tracer/internal/export/api"
	"tracer/internal/loader"
)

func newConnectCommand() *cobra.Command {
	var runDir, socket string
	cmd := &cobra.Command{
		Use:   "connect",
		Short: "Join standard input and output to the agent's socket",
		Long: `Join standard input and output to the socket of the agent of this network namespace, until
the agent closes it. kubectl tracer runs it in the agents' pods and speaks HTTP over it.
That standard input ends means, as to every HTTP server, that nobody waits for an answer.
--socket names another one, such as the viewers'.`,
		Example: `  kubectl exec -i -n tracer ds/tracer -- /tracer connect
  kubectl exec -i -n tracer-viewer ds/tracer-viewer -- /tracer connect --socket ` + api.ViewerSocket,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if socket == "" {
				files, err := loader.CurrentFiles(runDir)
				if err != nil {
					return err
				}
				socket = files.Socket()
			}
			return connect(socket, cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
	addRunDir(cmd, &runDir)
	cmd.Flags().StringVar(&socket, "socket", "", "the socket (default: that of the agent of this network namespace)")
	return cmd
}

// connect copies between a socket and in and out, until the agent has closed its side.
func connect(socket string, in io.Reader, out io.Writer) error {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return api.DialError(socket, err)
	}
	defer conn.Close()
	go func() {
		// An error shows as an answer that does not come.
		_, _ = io.Copy(conn, in)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	if _, err := io.Copy(out, conn); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("read from the agent at %s: %w", socket, err)
	}
	return nil
}
