//go:build nolab

package main

import "github.com/spf13/cobra"

// addLabCommands adds none: what injects faults is left out of the shipped binary.
func addLabCommands(*cobra.Command) {}
