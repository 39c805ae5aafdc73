//go:build !nolab

package main

import "github.com/spf13/cobra"

func addLabCommands(root *cobra.Command) { root.AddCommand(newDemoCommand(), newLabCommand()) }
