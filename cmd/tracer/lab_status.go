//go:build !nolab

package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/lab"
)

func newLabStatusCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the lab, its load's latest numbers and the active faults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			l, err := lab.Open(flags.runDir, flags.name)
			if err != nil {
				return err
			}
			return flags.printStatus(cmd.OutOrStdout(), l)
		},
	}
}

func (f *labFlags) printStatus(w io.Writer, l *lab.Lab) error {
	now := time.Now()
	status, err := l.Status(now)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeLabJSON(w, status)
	}
	return writeLabStatus(w, status, now)
}

// writeLabStatus writes a lab for people.
func writeLabStatus(w io.Writer, s lab.Status, now time.Time) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	p := func(format string, args ...any) { fmt.Fprintf(t, format, args...) } // tabwriter keeps errors for Flush
	p("lab %q, up since %s (%s), overlay %s as %s\n\n", s.Name, s.Since.Format(time.TimeOnly),
		now.Sub(s.Since).Round(time.Second), s.Overlay, s.OverlayDevice)
	p("NODE\tNETWORK NAMESPACE\tADDRESS\tPODS\tQDISC OF %s\n", s.OverlayDevice)
	for _, n := range s.Nodes {
		p("%s\t%s\t%s\t%s\t%s\n", n.Name, n.Netns, n.Address, n.Pods, n.RootQdisc)
	}
	p("\nPOD\tNODE\tNETWORK NAMESPACE\tADDRESS\tDEVICE ON NODE\n")
	for _, pod := range s.Pods {
		p("%s\t%s\t%s\t%s\t%s\n", pod.PodName, pod.Node, pod.Netns, pod.Address, pod.Device)
	}
	p("\nservice %s at %s:%d, answered by %s\n", s.Service.Name, s.Service.Address, s.Service.Port, s.Service.Backend)
	p("load of web on api: %g UDP calls/s of %d bytes", s.Load.Rate, s.Load.Size)
	if s.Load.TCP > 0 {
		p(", a TCP call every %s", s.Load.TCP)
	}
	p("\n\n")
	if s.Trouble != nil {
		p("the application does not run: %s\n\n", *s.Trouble)
	}
	p("LAST %.1f s\tCOUNT\tP50\tP99\tLOSS\tPENDING\n", s.WindowSeconds)
	writeWay(p, "request, one way", s.Recent.Request)
	writeWay(p, "response, one way", s.Recent.Response)
	writeDelays(p, "UDP call", s.Recent.RoundTrip)
	p("\n")
	writeDelays(p, "TCP call", s.Recent.TCP)
	p("\n\n")
	if s.WindowSeconds >= 1 { // of less, what is still under way is too great a part
		p("%.1f UDP calls/s answered\n", s.CallsPerSecond)
	}
	if len(s.Faults) == 0 {
		p("no active fault\n")
	}
	for _, f := range s.Faults {
		p("fault since %s: %s\n", f.Since.Format(time.TimeOnly), describeLabFault(f))
	}
	return t.Flush()
}

func writeWay(p func(string, ...any), name string, way lab.OneWay) {
	writeDelays(p, name, way.Delay)
	p("\t%.1f%%\t%d\n", way.LossRatio*100, way.Pending)
}

func writeDelays(p func(string, ...any), name string, d lab.Delays) {
	if d.Count == 0 {
		p("%s\t0\t-\t-", name)
		return
	}
	p("%s\t%d\t%s\t%s", name, d.Count, labSeconds(d.P50), labSeconds(d.P99))
}
