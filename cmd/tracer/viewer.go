package main

import (
	"github.com/spf13/cobra"
)

func newViewerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "viewer",
		Short: "Wait until stopped: the process of the pods that viewers ask through",
		Long: `Wait until stopped. It does nothing: it is the process of a pod without any right, which has
the agent's second socket mounted, so that who may exec into it can run "tracer connect
--socket" there, and ask what people look at, without being root on the node.`,
		Example: `  $tracer viewer`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			<-cmd.Context().Done()
			return nil
		},
	}
}
