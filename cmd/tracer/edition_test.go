package main

import (
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// eachHelp calls check with the help of each command.
func eachHelp(cmd *cobra.Command, check func(cmd *cobra.Command, help string)) {
	var help strings.Builder
	cmd.SetOut(&help)
	_ = cmd.Help() // a strings.Builder takes everything
	check(cmd, help.String())
	for _, c := range cmd.Commands() {
		eachHelp(c, check)
	}
}

// TestExamples: each line of an example calls the program as the edition has it, in its container by its path there.
func TestExamples(t *testing.T) {
	t.Parallel()
	call := regexp.MustCompile(`^  (?:ip netns exec \S+ (\S+)|kubectl exec .* -- (\S+)|(\S+))`)
	for name, e := range map[string]edition{"this one": thisEdition(), "the shipped one": shipped()} {
		eachHelp(newRootCommand(e), func(cmd *cobra.Command, _ string) {
			if cmd.Example == "" {
				return
			}
			for line := range strings.Lines(cmd.Example) {
				found := call.FindStringSubmatch(line)
				if found == nil || found[1]+found[3] != e.program && found[2] != "/tracer" {
					t.Errorf("%s, %s: an example does not call %s: %s", name, cmd.CommandPath(), e.program, line)
				}
			}
		})
	}
}

// TestShippedHelp: the shipped program tells of nothing that it does not have.
func TestShippedHelp(t *testing.T) {
	t.Parallel()
	lab := regexp.MustCompile(`(?i)\b(demo|lab|labs|netns exec)\b`)
	commands := 0
	eachHelp(newRootCommand(shipped()), func(cmd *cobra.Command, help string) {
		commands++
		if found := lab.FindString(help); found != "" {
			t.Errorf("%s tells of %q:\n%s", cmd.CommandPath(), found, help)
		}
		if cmd.Runnable() && !strings.Contains(help, "\nUsage:\n  /tracer") {
			t.Errorf("%s is not called by its path:\n%s", cmd.CommandPath(), help)
		}
	})
	if commands < 8 {
		t.Errorf("%d commands", commands)
	}
}
