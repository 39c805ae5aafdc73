package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"tracer/internal/loader"
)

func newCleanupCommand() *cobra.Command {
	var runDir string
	cmd := &cobra.Command{
		Use:   "cleanup",
		Short: "Remove what a tracer that was killed left in this network namespace",
		Long: `Remove what a tracer that was killed left in this network namespace: its tc filters,
and the clsact qdiscs that it made, if nobody else uses them by now. Only kernels
without TCX (before 6.6) keep such things; elsewhere there is nothing to remove.
It refuses while a tracer runs here.`,
		Example: "  $tracer cleanup",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			files, err := loader.CurrentFiles(runDir)
			if err != nil {
				return err
			}
			lock, err := files.Lock()
			if errors.Is(err, loader.ErrLocked) {
				return fmt.Errorf("%w; nothing was removed, it cleans up after itself", err)
			}
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, lock.Close()) }()
			removed, err := loader.Sweep(files)
			for _, what := range removed {
				fmt.Fprintln(cmd.OutOrStdout(), "removed", what)
			}
			if err == nil && len(removed) == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nothing to remove")
			}
			return err
		},
	}
	addRunDir(cmd, &runDir)
	return cmd
}

func addRunDir(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "run-dir", loader.RunDir, "directory of locks, sockets and identity files")
}
