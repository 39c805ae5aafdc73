//go:build !nolab

package main

import "github.com/spf13/cobra"

// thisEdition is that of developers, who also have a lab and can inject faults.
func thisEdition() edition {
	return edition{
		program: "tracer",
		examples: `  $tracer demo                    # the whole story, on this machine alone
  $tracer diagnose                # watch this node for 15 s and say what is wrong
  ip netns exec node1 $tracer diagnose -o json`,
		commands: []*cobra.Command{newDemoCommand(), newLabCommand()},
	}
}
