package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/console"
	"tracer/internal/incident"
	"tracer/internal/trace"
)

// defaultStateDir is where the agent keeps what is to survive it, and incidentsIn where incidents are in there.
const (
	defaultStateDir = "/var/lib/tracer"
	incidentsIn     = "incidents"
)

// incidentsFlags are those of the commands that read incidents.
type incidentsFlags struct {
	store  incident.Store
	at     string
	redact bool
}

func (f *incidentsFlags) addDir(cmd *cobra.Command) {
	cmd.PersistentFlags().StringVar(&f.store.Dir, "incidents-dir", filepath.Join(defaultStateDir, incidentsIn), "where the agent keeps incidents")
}

func newIncidentsCommand() *cobra.Command {
	var flags incidentsFlags
	var output string
	cmd := &cobra.Command{
		Use:   "incidents",
		Short: "List what was wrong before, and show it as it was",
		Long: `List what was wrong before, and show it as it was. When a finding begins the agent keeps
what led to it and what came of it: reports, counts, devices with their qdiscs, changes
of links, routes and qdiscs, the slowest journeys and losses, from one minute before to
five minutes after. No agent need run to read them.`,
		Example: `  $tracer incidents
  $tracer incidents show last
  $tracer top --replay last
  $tracer incidents export last --redact > incident.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.OneOf("output", output, "table", "json"); err != nil {
				return err
			}
			return flags.list(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), output == "json")
		},
	}
	flags.addDir(cmd)
	cmd.Flags().StringVarP(&output, "output", "o", "table", "how to print: table or json")
	cmd.AddCommand(newIncidentsShowCommand(&flags), newIncidentsExportCommand(&flags))
	return cmd
}

func newIncidentsShowCommand(flags *incidentsFlags) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "show ID|FILE",
		Short: "Print an incident: the report as it was, and what changed around it",
		Long: `Print an incident: the report of the time at which its finding was surest, what changed
on the node around it, the slowest journeys and the losses. The incident is given by its
ID, the beginning of it, "last", or the name of an exported file. --at has the report of
another time.`,
		Example: `  $tracer incidents show last
  $tracer incidents show 20260501T030211 --at 03:01:50
  $tracer incidents show ./incident.jsonl -o json`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			i, err := flags.read(args[0])
			if err != nil {
				return err
			}
			frame, err := flags.frame(i)
			if err != nil {
				return err
			}
			if output == "json" {
				return console.WriteJSON(cmd.OutOrStdout(), i.ShownAt(frame))
			}
			return showIncident(cmd.OutOrStdout(), i, frame, console.Colorful(os.Stdout))
		},
	}
	cmd.Flags().StringVar(&flags.at, "at", "", "a time in the incident, as 15:04:05 or RFC 3339: the report of then")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

func newIncidentsExportCommand(flags *incidentsFlags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export ID",
		Short: "Write an incident as one file that is read elsewhere",
		Long: `Write an incident to standard output, as one file that tracer incidents show and
tracer top --replay read on any machine. With --redact addresses and the names of nodes,
namespaces, workloads, pods, Services and pods' devices are pseudonyms, the same one for
the same name throughout, and comments of rules are left out.`,
		Example: `  $tracer incidents export last --redact > incident.jsonl`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			i, err := flags.read(args[0])
			if err != nil {
				return err
			}
			if flags.redact {
				if i, err = i.Redacted(); err != nil {
					return err
				}
			}
			return i.Write(cmd.OutOrStdout())
		},
	}
	cmd.Flags().BoolVar(&flags.redact, "redact", false, "write pseudonyms for addresses and names")
	return cmd
}

// read reads an incident by its ID, or from a file.
func (f *incidentsFlags) read(name string) (*incident.Incident, error) {
	if strings.ContainsRune(name, filepath.Separator) || strings.HasSuffix(name, ".jsonl") {
		return incident.ReadFile(name)
	}
	i, err := f.store.Read(name)
	if errors.Is(err, incident.ErrNoIncident) {
		return nil, fmt.Errorf("%w; `tracer incidents` lists them, and a file is given as ./FILE", err)
	}
	return i, err
}

// frame is the one of --at, or the one that the incident is told by.
func (f *incidentsFlags) frame(i *incident.Incident) (*incident.Frame, error) {
	if len(i.Frames) == 0 {
		return nil, errors.New("no frame of this incident could be read")
	}
	if f.at == "" {
		return i.Told(), nil
	}
	from, err := time.Parse(time.RFC3339, f.at)
	if err != nil {
		clock, clockErr := time.Parse(time.TimeOnly, f.at)
		if clockErr != nil {
			return nil, fmt.Errorf("--at %q: give a time such as 15:04:05 or 2026-05-01T15:04:05Z", f.at)
		}
		from = onNearestDay(clock, i.Began.Local())
	}
	to := from
	if from.Nanosecond() == 0 { // all of that second
		to = from.Add(time.Second - 1)
	}
	if first, last := i.Frames[0].Taken, i.Frames[len(i.Frames)-1].Taken; to.Before(first) || from.After(last) {
		return nil, fmt.Errorf("--at %s: the incident is kept from %s to %s", f.at, first.Local().Format(time.DateTime), last.Local().Format(time.DateTime))
	}
	return i.At(to), nil
}

// onNearestDay is a time of day on the day on which it is nearest to a time: an incident may go on past midnight.
func onNearestDay(clock, to time.Time) time.Time {
	var nearest time.Time
	for _, days := range []int{0, -1, 1} {
		at := time.Date(to.Year(), to.Month(), to.Day()+days, clock.Hour(), clock.Minute(), clock.Second(), clock.Nanosecond(), to.Location())
		if nearest.IsZero() || at.Sub(to).Abs() < nearest.Sub(to).Abs() {
			nearest = at
		}
	}
	return nearest
}

// list prints all incidents.
func (f *incidentsFlags) list(ctx context.Context, w, notes io.Writer, asJSON bool) error {
	lister := incident.Lister{Store: &f.store}
	list, err := lister.List(ctx, math.MaxInt)
	if err != nil {
		return err
	}
	if asJSON {
		return console.WriteJSON(w, list)
	}
	if len(list.Incidents) == 0 {
		fmt.Fprintln(notes, "no incidents in", f.store.Dir)
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "ID\tBEGAN\tLASTED\tNODE\tSEVERITY\tWHAT")
	for _, s := range list.Incidents {
		if s.Error != "" {
			fmt.Fprintf(table, "%s\t%s\t\t\t\tcannot be read: %s\n", s.ID, s.Began.Local().Format(time.DateTime), s.Error)
			continue
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Began.Local().Format(time.DateTime), lasted(s), s.Node, s.Severity, s.Text)
	}
	return table.Flush()
}

// lasted is for how long an incident was, or that no end was seen.
func lasted(s incident.Summary) string {
	if s.Ended == nil {
		return "no end seen"
	}
	return s.Ended.Sub(s.Began).Round(time.Second).String()
}

// showIncident prints a report as it was, and what was around it.
func showIncident(w io.Writer, i *incident.Incident, frame *incident.Frame, color bool) error {
	var b strings.Builder
	summary := i.Summary()
	first, last := i.Frames[0].Taken, i.Frames[len(i.Frames)-1].Taken
	fmt.Fprintf(&b, "incident %s on %s, by tracer %s\n", i.ID, cmp.Or(i.Node, "a node without a name"), i.Tracer)
	long := lasted(summary)
	if summary.Ended != nil {
		long = "lasted " + long
	}
	fmt.Fprintf(&b, "began %s, %s; kept from %s to %s in %d frames\n", i.Began.Local().Format(time.DateTime), long,
		first.Local().Format(time.TimeOnly), last.Local().Format(time.TimeOnly), len(i.Frames))
	if i.Damaged > 0 {
		fmt.Fprintf(&b, "%d damaged lines of the file are left out\n", i.Damaged)
	}
	if i.Redact {
		b.WriteString("addresses and names are pseudonyms\n")
	}
	fmt.Fprintf(&b, "\nAs told at %s:\n\n", frame.Taken.Local().Format(time.TimeOnly))
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write incident: %w", err)
	}
	report := frame.Report
	report.Started = report.Started.Local()
	if err := report.WriteText(w, color); err != nil {
		return err
	}
	b.Reset()
	b.WriteString("\nWhat changed:\n")
	for _, c := range changesOf(i) {
		fmt.Fprintf(&b, "  %s  %s\n", c.at.Local().Format(time.TimeOnly), c.text)
	}
	b.WriteByte('\n')
	write := func(title string, traces []trace.Trace) error {
		if len(traces) == 0 {
			return nil
		}
		fmt.Fprintf(&b, "%s\n\n", title)
		for k := range traces[:min(3, len(traces))] {
			if err := traces[k].WriteText(&b, color); err != nil {
				return err
			}
		}
		return nil
	}
	if err := errors.Join(write("The slowest journeys until then:", frame.Slowest), write("Packets lost until then, one of each kind:", frame.Lost)); err != nil {
		return err
	}
	if _, err := io.WriteString(w, strings.TrimRight(b.String(), "\n")+"\n"); err != nil {
		return fmt.Errorf("write incident: %w", err)
	}
	return nil
}

// changeLine is something that changed.
type changeLine struct {
	at   time.Time
	text string
}

// changesOf are those of links, routes and qdiscs, and of findings, in order.
func changesOf(i *incident.Incident) (lines []changeLine) {
	for k := range i.Frames {
		for _, e := range i.Frames[k].Events {
			lines = append(lines, changeLine{e.Time, strings.TrimSpace(e.Device + " " + e.Text)})
		}
	}
	for _, c := range i.Changes {
		word := "ends"
		switch c.Kind {
		case incident.Begins:
			word = "begins"
		case incident.Critical:
			word = "is critical now"
		}
		f := &c.Finding.Finding
		lines = append(lines, changeLine{c.Time, fmt.Sprintf("%s %s: %s", f.Cause, word, f.Sentence())})
	}
	slices.SortStableFunc(lines, func(a, b changeLine) int { return a.at.Compare(b.at) })
	return lines
}
