package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/console"
	"tracer/internal/trace"
)

func newTraceCommand() *cobra.Command {
	var flags tracingFlags
	var filter trace.Filter
	var output string
	var once int
	var duration time.Duration
	var write string
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Show journeys of packets as they end, each with its stages",
		Long: `Show journeys of packets as they end, each with its stages.

Where an agent runs in this network namespace the agent's journeys are shown;
elsewhere the command traces by itself. It goes on until interrupted, or as --once or
--duration say. Filters run in the agent, so that only journeys that match are sent;
those that come faster than they are read are missed, and counted. While none matches,
standard error says how many packets pass, and at the end how many there were.

With --requests it shows requests: from the last packet of each to the first of its
answer, as they pass the device of the pod that asks, or of the one that is asked.

With --write nothing is printed: the headers of packets that were lost, and of those
slower than 10ms (or as --slower-than and --stage say), go to a file that Wireshark and
tshark read (pcapng), each with its device, its drop's reason and its stages' times as comments.
What packets carry is not in it. With --drops only lost ones are written.`,
		Example: `  $tracer trace --once 5
  $tracer trace --pod default/web --slower-than 10ms
  $tracer trace --stage 'queue@tunl0>10ms' --proto tcp
  $tracer trace --drops -o json | jq .drop
  $tracer trace --requests --peer default/api --slower-than 100ms
  $tracer trace --write slow.pcapng --pod default/web --duration 1m
  $tracer trace --write - --drops | tshark -r - -T fields -e ip.dst -e frame.comment`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (failed error) {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			if once < 0 || duration < 0 || filter.SlowerThan < 0 {
				return errors.New("--once, --duration and --slower-than take no negative value")
			}
			if filter.Requests && (write != "" || filter.Stage != (trace.StageFilter{})) {
				return errors.New("a request has no stages and no headers: give neither --stage nor --write beside --requests")
			}
			if write != "" {
				if cmd.Flags().Changed("output") {
					return errors.New("--write is a form of its own; give no --output beside it")
				}
				filter = writeFilter(filter, cmd.Flags().Changed("slower-than"))
			}
			ctx := cmd.Context()
			if duration > 0 {
				var stop context.CancelFunc
				ctx, stop = context.WithTimeout(ctx, duration)
				defer stop()
			}
			show := func(traces iter.Seq2[trace.Trace, error], tell func()) error {
				return printTraces(cmd.OutOrStdout(), traces, once, output == "json", tell)
			}
			if write != "" {
				h, err := openWrite(ctx, cmd, write)
				if err != nil {
					return err
				}
				defer func() { failed = errors.Join(failed, h.close(failed)) }()
				show = func(traces iter.Seq2[trace.Trace, error], tell func()) error {
					return h.writeTraces(cmd.ErrOrStderr(), filter, traces, once, tell)
				}
			}
			return flags.withSource(ctx, func(ctx context.Context, s source, _ bool) error {
				count := traceCount{filter: filter, outcomes: s.Outcomes, w: cmd.ErrOrStderr(), now: time.Now}
				count.terminal, count.width = terminalOf(os.Stderr.Fd())
				return count.during(ctx, func(ctx context.Context) error {
					return show(s.Traces(ctx, filter), count.match)
				})
			})
		},
	}
	f := cmd.Flags()
	f.BoolVar(&filter.Requests, "requests", false, "requests and how long they took, timed at pods' devices, and no packets; --slower-than and --drops choose slow and unanswered ones")
	f.StringVar(&filter.Pod, "pod", "", "only packets from or to this pod, workload or service (name or namespace/name) or address")
	f.StringVar(&filter.Peer, "peer", "", "only packets whose other end is this one")
	f.StringVar(&filter.Workload, "workload", "", "only packets from or to this workload (name or namespace/name)")
	f.Uint16Var(&filter.Port, "port", 0, "only packets from or to this port, before or after NAT")
	f.Var(&filter.Protocol, "proto", "only packets of this protocol: tcp, udp, icmp … or a number")
	f.StringVar(&filter.Device, "device", "", "only packets that passed this device; 'pod' for any pod's")
	f.Var(&filter.Stage, "stage", "only packets that passed this stage, or took longer in it: queue, 'queue>10ms', 'queue@tunl0>10ms'")
	f.DurationVar(&filter.SlowerThan, "slower-than", 0, "only packets that took longer on this node")
	f.BoolVar(&filter.DropsOnly, "drops", false, "only packets that were lost")
	f.IntVar(&once, "once", 0, "stop after so many journeys (default: go on)")
	f.DurationVar(&duration, "duration", 0, "stop after this time (default: go on)")
	f.StringVarP(&output, "output", "o", "text", "how to print: text, or json for one object a line")
	f.StringVar(&write, "write", "", "write the headers of lost and slow packets to this new file, or pipe that somebody reads, as pcapng; '-' for standard output")
	flags.add(cmd)
	return cmd
}

// printTraces writes journeys until there are no more, or enough, and tells of each before.
func printTraces(w io.Writer, traces iter.Seq2[trace.Trace, error], enough int, asJSON bool, tell func()) error {
	color, printed := console.Colorful(os.Stdout), 0
	for t, err := range traces {
		if err != nil {
			return fmt.Errorf("read journeys: %w", err)
		}
		tell()
		if asJSON {
			err = console.WriteJSON(w, t)
		} else {
			err = t.WriteText(w, color)
		}
		if err != nil {
			return err
		}
		if printed++; printed == enough {
			return nil
		}
	}
	return nil
}
