package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tracer/internal/console"
	"tracer/internal/incident"
	"tracer/internal/overview"
	"tracer/internal/top"
)

// topFlags are those of the live view.
type topFlags struct {
	tracingFlags
	query  overview.Query
	filter string
	output string
	once   bool
	// replay is the incident to show in place of what is now.
	replay    string
	incidents incidentsFlags
}

func newTopCommand() *cobra.Command {
	flags := topFlags{query: overview.Query{By: overview.ByPair, Interval: 2 * time.Second}}
	cmd := &cobra.Command{
		Use:   "top",
		Short: "See live where the time goes: pairs, services, flows, devices",
		Long: `See live where the time goes on this node, by pair of workloads, service, flow or device:
what hurts most comes first, with the stage that its time goes to. Enter shows a row in
detail, ? the keys.

Where an agent runs in this network namespace it is asked; elsewhere the command traces
by itself. With --once it prints one window and ends: no terminal is needed for that.

--replay shows an incident (tracer incidents lists them) as if it were now, from one
minute before it began: space stops, [ and ] go back and on. With --once it shows the
time at which the finding was surest.`,
		Example: `  $tracer top
  $tracer top --once --filter 'web p99>10ms'
  $tracer top --once -o json | jq '.rows[0].worst'
  kubectl exec -n tracer -it ds/tracer -- /tracer top`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(cmd); err != nil {
				return err
			}
			if !flags.once && (!term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd()))) {
				return errors.New("this is not a terminal: print the view with --once, or give kubectl exec -it")
			}
			if flags.replay != "" {
				return flags.showIncident(cmd.Context(), cmd.OutOrStdout())
			}
			if flags.once {
				return flags.printOnce(cmd.Context(), cmd.OutOrStdout(), cmd.Flags().Changed("interval"))
			}
			return flags.show(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.Var(&flags.query.By, "by", "what the rows are")
	f.DurationVar(&flags.query.Interval, "interval", flags.query.Interval, fmt.Sprintf("time between two updates; with --once and no agent, how long to trace (by itself %v)", onceInterval))
	f.Var(&flags.query.Sort, "sort", "column to sort by: pain (what hurts most), src, dst, dir, pps, bps, p50, p99, worst, drops, rtt, resent, held; -COLUMN for the reverse")
	f.StringVar(&flags.filter, "filter", "", "show only rows that match: texts and conditions such as 'web device=tunl0 p99>10ms drops>0'")
	f.IntVar(&flags.query.Limit, "limit", 0, "most rows to print with --once (default: all)")
	f.BoolVar(&flags.once, "once", false, "print one window and end")
	f.StringVarP(&flags.output, "output", "o", "table", "how --once prints: table or json")
	f.StringVar(&flags.replay, "replay", "", "show this incident: an ID, the beginning of one, last, or an exported file")
	f.StringVar(&flags.incidents.at, "at", "", "with --replay: begin at this time, as 15:04:05 or RFC 3339")
	flags.incidents.addDir(cmd)
	flags.add(cmd)
	return cmd
}

func (f *topFlags) check(cmd *cobra.Command) (err error) {
	if err := console.OneOf("output", f.output, "table", "json"); err != nil {
		return err
	}
	if f.query.Interval < overview.MinInterval || f.query.Interval > overview.MaxInterval {
		return fmt.Errorf("--interval %v: give one between %v and %v", f.query.Interval, overview.MinInterval, overview.MaxInterval)
	}
	if f.query.Limit < 0 {
		return errors.New("--limit takes no negative value")
	}
	if f.query.Filter, err = overview.ParseFilter(f.filter); err != nil {
		return fmt.Errorf("--filter: %w", err)
	}
	if cmd.Flags().Changed("output") && !f.once {
		return errors.New("--output is for --once: add it")
	}
	if f.replay == "" && f.incidents.at != "" {
		return errors.New("--at is for --replay: add it")
	}
	if f.replay != "" && f.query.By == overview.ByFlow {
		return fmt.Errorf("--by flow: %w", incident.ErrNoFlows)
	}
	return nil
}

// onceInterval is how long --once traces where no --interval is given: what has no answer is told after five seconds, and TCP tries
// it at growing intervals.
const onceInterval = 10 * time.Second

// printOnce prints one window: the agent's last, or one that we trace.
func (f *topFlags) printOnce(ctx context.Context, w io.Writer, intervalGiven bool) error {
	return f.withSource(ctx, func(ctx context.Context, s source, own bool) error {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		if own && !intervalGiven {
			f.query.Interval = onceInterval
		}
		for o, err := range s.Overviews(ctx, f.query) {
			if err != nil {
				return err
			}
			young := own && o.WindowSeconds < 0.9*f.query.Interval.Seconds()
			if young || f.query.By == overview.ByFlow && o.Rows == nil {
				continue // there is too little to show yet
			}
			return f.printOverview(w, o)
		}
		return errInterrupted
	})
}

func (f *topFlags) printOverview(w io.Writer, o *overview.Overview) error {
	if f.output == "json" {
		return console.WriteJSON(w, o)
	}
	return top.WriteTable(w, o, f.query, version, console.TerminalWidth(), console.Colorful(os.Stdout))
}

// showIncident is the view of what is past.
func (f *topFlags) showIncident(ctx context.Context, w io.Writer) error {
	i, err := f.incidents.read(f.replay)
	if err != nil {
		return err
	}
	var from time.Time // the begin
	if f.once || f.incidents.at != "" {
		frame, err := f.incidents.frame(i)
		if err != nil {
			return err
		}
		from = frame.Taken
	}
	replay, err := incident.NewReplay(i, from)
	if err != nil {
		return err
	}
	if f.once {
		for o, err := range replay.Overviews(ctx, f.query) {
			if err != nil {
				return err
			}
			return f.printOverview(w, o)
		}
	}
	return f.view(ctx, replay)
}

// show is the live view.
func (f *topFlags) show(ctx context.Context) error {
	return f.withSource(ctx, func(ctx context.Context, s source, _ bool) error { return f.view(ctx, s) })
}

// view runs on the terminal. What is logged meanwhile would be written across it: it is printed at the end.
func (f *topFlags) view(ctx context.Context, s top.Source) error {
	before := slog.Default()
	var log lateLog
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	defer func() {
		slog.SetDefault(before)
		log.writeTo(os.Stderr)
	}()
	return top.Run(ctx, top.Options{Source: s, Query: f.query, Version: version, Now: time.Now}, os.Stdin, os.Stdout)
}

// lateLog keeps the last of what is logged.
type lateLog struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// lateLogSize bounds it.
const lateLogSize = 16 << 10

func (l *lateLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.text.Len()+len(p) > lateLogSize {
		l.text.Reset()
	}
	return l.text.Write(p)
}

func (l *lateLog) writeTo(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.text.WriteTo(w)
}
