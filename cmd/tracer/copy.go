package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func newCopyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "copy FILE",
		Short: "Copy this program to a file",
		Long: `Copy this program to a file: the image has no shell, and a container that is to run
tracer diagnose --check shares a directory with an init container that does this.`,
		Example: `  $tracer copy /shared/tracer`,
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			self, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program: %w", err)
			}
			return copyProgram(self, args[0])
		},
	}
}

// copyProgram replaces the file at target, also one that is being run.
func copyProgram(program, target string) error {
	from, err := os.Open(program)
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer from.Close()
	to, err := os.CreateTemp(filepath.Dir(target), ".tracer-*")
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	defer os.Remove(to.Name())
	_, err = io.Copy(to, from)
	if err = errors.Join(err, to.Chmod(0o755), to.Close()); err == nil {
		err = os.Rename(to.Name(), target)
	}
	if err != nil {
		return fmt.Errorf("copy this program: %w", err)
	}
	return nil
}
