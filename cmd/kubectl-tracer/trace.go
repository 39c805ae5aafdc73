package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/pairpath"
)

func newTraceCommand(flags *clusterFlags) *cobra.Command {
	var output string
	var slower time.Duration
	choice := pairpath.Choice{Most: 1}
	window, limit := 5*time.Second, 10*time.Second
	cmd := &cobra.Command{
		Use:   "trace SRC DST",
		Short: "Show single packets between two ends, each through the nodes of both",
		Long: `Watch the packets between two ends for some seconds, and show the slowest of those that both
ends' nodes saw: each stage on the one node, the wire, and each stage on the other. A packet
is known again by its flow and by what no router changes.

SRC and DST are as for kubectl tracer path.

Exit code: 0 packets are shown, 3 there was none such, 1 could not run or no agent answered.`,
		Example: `  kubectl tracer trace web api
  kubectl tracer trace deploy/web svc/api -n shop --once 5 --slower-than 10ms
  kubectl tracer trace web api --drops -o json | jq '.packets[].legs[].trace.drop'`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: flags.ends,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case output != "text" && output != "json":
				return fmt.Errorf("--output %q: choose text or json", output)
			case choice.Most < 1 || choice.Most > pairpath.MaxJourneys:
				return fmt.Errorf("--once %d: give 1 to %d", choice.Most, pairpath.MaxJourneys)
			case choice.Way != "" && choice.Way != pairpath.There && choice.Way != pairpath.Back:
				return fmt.Errorf("--way %q: choose there or back", choice.Way)
			}
			choice.Seconds = slower.Seconds()
			w, err := flags.watcher(cmd.Context(), args[0], args[1], window, limit)
			if err != nil {
				return err
			}
			w.query.Journeys = pairpath.MaxJourneys
			p := w.packets(cmd.Context(), choice)
			return write(cmd.OutOrStdout(), output, &p)
		},
	}
	f := cmd.Flags()
	f.DurationVar(&window, "duration", window, "how long to watch (at most 1m)")
	f.DurationVar(&limit, "timeout", limit, "how long to wait for the API server, and for each agent besides --duration")
	f.IntVar(&choice.Most, "once", choice.Most, "how many packets to show")
	f.StringVar(&choice.Way, "way", "", "only packets that go there, or back")
	f.DurationVar(&slower, "slower-than", 0, "only packets that took longer, as far as that is known")
	f.BoolVar(&choice.DropsOnly, "drops", false, "only packets that were lost")
	f.StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// packets watches, and joins single packets.
func (w *pathWatcher) packets(ctx context.Context, choice pairpath.Choice) pairpath.Packets {
	return pairpath.JoinPackets(endOf(w.from), endOf(w.to), w.watch(ctx), choice)
}
