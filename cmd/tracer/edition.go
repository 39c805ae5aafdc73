package main

import (
	"strings"

	"github.com/spf13/cobra"
)

// edition is what differs between the program that is shipped and a developer's.
type edition struct {
	program  string // by which it is called
	examples string // of the program as a whole
	commands []*cobra.Command
}

// shipped is the edition of the image, where nothing is on the PATH, and of what injects faults nothing is there.
func shipped() edition {
	return edition{
		program: "/tracer",
		examples: `  $tracer diagnose               # watch this node for 15 s and say what is wrong
  $tracer top                    # see live where the time goes
  kubectl exec -n tracer -it ds/tracer -- $tracer top`,
	}
}

// finish names the program in the examples of all commands, where they say $tracer.
func (e edition) finish(cmd *cobra.Command) {
	cmd.Example = strings.ReplaceAll(cmd.Example, "$tracer", e.program)
	for _, c := range cmd.Commands() {
		e.finish(c)
	}
}
