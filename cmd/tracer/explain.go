package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"tracer/docs"
	"tracer/internal/console"
	"tracer/internal/diagnose"
)

func newExplainCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "explain [CAUSE]",
		Short: "Explain a cause that diagnose names: what it means, how the kernel shows it, what to do",
		Long: `Explain a cause that diagnose names: what it means, how the kernel shows it, what to do
about it, and what it can be confused with. Without a cause it lists them.`,
		Example: "  $tracer explain\n  $tracer explain qdisc-delay",
		Args:    cobra.MaximumNArgs(1),
		ValidArgsFunction: func(_ *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			var names []cobra.Completion
			if len(args) == 0 {
				for _, c := range diagnose.Causes() {
					names = append(names, cobra.CompletionWithDesc(string(c.Cause), c.Meaning))
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), listCauses())
				return err
			}
			out := cmd.OutOrStdout()
			terminal, ok := out.(*os.File)
			return explain(out, args[0], ok && console.Colorful(terminal))
		},
	}
}

// explain prints a cause's page.
func explain(w io.Writer, name string, color bool) error {
	page, err := docs.Cause(name)
	if err != nil || name == "README" {
		return fmt.Errorf("there is no cause %q: %s", name, suggest(name))
	}
	_, err = io.WriteString(w, plainPage(page, color))
	return err
}

// suggest names the causes that are near to a name, or says how to list all.
func suggest(name string) string {
	var near []string
	for _, c := range diagnose.Causes() {
		if likeness(name, string(c.Cause)) {
			near = append(near, string(c.Cause))
		}
	}
	if len(near) == 0 {
		return "`tracer explain` lists them"
	}
	return "did you mean " + strings.Join(near, " or ") + "? `tracer explain` lists all"
}

// likeness tells whether somebody who writes one name may mean the other: it begins like it, has a word of it, or
// differs by few letters.
func likeness(name, cause string) bool {
	name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
	if name == "" {
		return false
	}
	for word := range strings.SplitSeq(name, "-") {
		for other := range strings.SplitSeq(cause, "-") {
			if len(word) > 2 && (word == other || len(word) > 3 && (strings.HasPrefix(other, word) || distance(word, other) == 1)) {
				return true
			}
		}
	}
	return strings.HasPrefix(cause, name) || distance(name, cause) <= max(2, len(cause)/4)
}

// distance is how many letters must be put in, taken out or changed to make one word of the other (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range a {
		before := row[0]
		row[0] = i + 1
		for j := range b {
			changed := before
			if a[i] != b[j] {
				changed++
			}
			before = row[j+1]
			row[j+1] = min(changed, before+1, row[j]+1)
		}
	}
	return row[len(b)]
}
