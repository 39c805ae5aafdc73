package main

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/overview"
)

// completeWithin is how long a shell waits for names.
const completeWithin = 3 * time.Second

// completer is the name by which kubectl runs us for its own shell completion: it looks for such a program in PATH.
const completer = "kubectl_complete-tracer"

// argsOf are the arguments that we are run with: as kubectl's completer we are to complete them.
func argsOf(args []string) []string {
	name := strings.TrimSuffix(filepath.Base(args[0]), ".exe")
	if name == completer {
		return append([]string{cobra.ShellCompRequestCmd}, args[1:]...)
	}
	return args[1:]
}

// completes is what a shell is told: names as the cluster has them; none if it cannot be asked.
func (f *clusterFlags) completes(cmd *cobra.Command, names func(context.Context, *agents.Cluster, string) []string) ([]string, cobra.ShellCompDirective) {
	c, err := f.cluster()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completeWithin)
	defer cancel()
	namespace, _, err := f.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return names(ctx, c, namespace), cobra.ShellCompDirectiveNoFileComp
}

// ends completes SRC and DST.
func (f *clusterFlags) ends(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) >= 2 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, how := f.completes(cmd, func(ctx context.Context, c *agents.Cluster, namespace string) []string {
		return c.Names(ctx, namespace, begin)
	})
	if len(all) > 0 && !slices.ContainsFunc(all, func(name string) bool { return !strings.HasSuffix(name, "/") }) {
		how |= cobra.ShellCompDirectiveNoSpace // a name follows
	}
	return all, how
}

// completeFlags completes the values of flags: nodes, namespaces, contexts.
func (f *clusterFlags) completeFlags(root *cobra.Command) {
	type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)
	list := func(names func(context.Context, *agents.Cluster) []string) completion {
		return func(cmd *cobra.Command, _ []string, begin string) ([]string, cobra.ShellCompDirective) {
			before, last := "", begin
			if i := strings.LastIndexByte(begin, ','); i >= 0 {
				before, last = begin[:i+1], begin[i+1:]
			}
			all, how := f.completes(cmd, func(ctx context.Context, c *agents.Cluster, _ string) []string { return names(ctx, c) })
			var out []string
			for _, name := range all {
				if strings.HasPrefix(name, last) && !slices.Contains(strings.Split(before, ","), name) {
					out = append(out, before+name)
				}
			}
			return out, how
		}
	}
	fixed := func(values ...string) completion {
		return func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return values, cobra.ShellCompDirectiveNoFileComp
		}
	}
	var kinds []string
	for _, by := range overview.RowKinds() {
		kinds = append(kinds, string(by))
	}
	namespaces := list(func(ctx context.Context, c *agents.Cluster) []string { return c.Namespaces(ctx) })
	by := map[string]completion{
		"namespace": namespaces, "tracer-namespace": namespaces,
		"nodes": list(func(ctx context.Context, c *agents.Cluster) []string { return c.NodeNames(ctx) }),
		"way":   fixed("there", "back"), "by": fixed(kinds...), "sort": fixed(overview.SortKeys()...),
		"context": func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			config, err := f.ToRawKubeConfigLoader().RawConfig()
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var all []string
			for name := range config.Contexts {
				all = append(all, name)
			}
			slices.Sort(all)
			return all, cobra.ShellCompDirectiveNoFileComp
		},
	}
	for _, cmd := range append(root.Commands(), root) {
		for name, complete := range by {
			flags := cmd.LocalNonPersistentFlags()
			if cmd == root {
				flags = cmd.PersistentFlags()
			}
			if flags.Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, complete) // fails for a flag that has one
			}
		}
		if flag := cmd.Flags().Lookup("output"); flag != nil {
			values := []string{"text", "json"}
			if flag.DefValue == "table" {
				values[0] = "table"
			}
			_ = cmd.RegisterFlagCompletionFunc("output", fixed(values...))
		}
	}
}
