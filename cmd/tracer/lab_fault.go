//go:build !nolab

package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/lab"
)

func newLabFaultCommand(flags *labFlags) *cobra.Command {
	var f lab.Fault
	var rate, loss, limit string
	cmd := &cobra.Command{
		Use:   "fault",
		Short: "Put delay, a rate or loss onto a device's queue",
		Long: `Put delay, a rate or loss onto the queue of a device of the lab.

Where the kernel has netem, this is what the tool comcast sets: htb with a netem
under class 10:10, and marks that lead packets there. Elsewhere tbf makes delay
and loss out of the load: its rate is a little less than what the load offers, so
its queue fills and stands; each packet waits for the whole queue, and those that
find no room are lost. That needs the lab's own load to pass the device, takes the
time until the queue is full, and without a wish for loss costs some 5% of it.`,
		Example: `  $tracer lab fault --delay 500ms --loss 10%
  $tracer lab fault --delay 500ms --rate 50kbit --loss 10%
  $tracer lab fault --device pod:web --delay 50ms
  $tracer lab fault --rate 50kbit --delay 20s      # after: tracer lab up --rate 100`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := flags.check(); err != nil {
				return err
			}
			if rate != "" {
				if f.Rate, err = lab.ParseRate(rate); err != nil {
					return err
				}
			}
			if loss != "" {
				if f.Loss, err = lab.ParseLoss(loss); err != nil {
					return err
				}
			}
			if limit != "" {
				if f.Limit, err = lab.ParseSize(limit); err != nil {
					return err
				}
			}
			l, err := lab.Open(flags.runDir, flags.name)
			if err != nil {
				return err
			}
			done, err := l.Fault(f)
			if err != nil {
				return err
			}
			if flags.output == "json" {
				return writeLabJSON(cmd.OutOrStdout(), done)
			}
			return writeLabFault(cmd.OutOrStdout(), done)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&f.Node, "node", "", "the node; by itself where web is, or the pod of --device")
	fs.StringVar(&f.Device, "device", lab.OverlayDevice, "overlay, uplink, or pod:<name>")
	fs.DurationVar(&f.Delay, "delay", 0, "how long packets wait, for example 500ms")
	fs.StringVar(&rate, "rate", "", "how much may leave, for example 50kbit")
	fs.StringVar(&loss, "loss", "", "the share of packets that is dropped, for example 10%")
	fs.StringVar(&limit, "limit", "", "what the queue holds at most, for example 125kb; by itself it follows from the delay")
	fs.StringVar(&f.Tool, "tool", "", "netem or tbf; by itself netem where the kernel has it")
	return cmd
}

func newLabHealCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "heal",
		Short: "Take all faults away",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := lab.Open(flags.runDir, flags.name)
			if err != nil {
				return err
			}
			faults, err := l.Faults()
			if err != nil {
				return err
			}
			if err := l.Heal(); err != nil {
				return err
			}
			if len(faults) == 0 {
				_, err = fmt.Fprintln(cmd.OutOrStdout(), "there was no fault")
				return err
			}
			for _, f := range faults {
				if _, err := fmt.Fprintf(cmd.OutOrStdout(), "%s of %s is healthy again\n", f.Device, f.Node); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

func writeLabFault(w io.Writer, f lab.Injected) error {
	_, err := fmt.Fprintf(w, `%s, of which the load should see %s.
%sBy hand:
  %s
Undone by "tracer lab heal", or by hand:
  %s
`, describeLabFault(f), expectation(f.Expected), note(f.Expected),
		strings.Join(f.Commands, "\n  "), strings.Join(f.Undo, "\n  "))
	return err
}

// describeLabFault says in a few words how the queue was set up.
func describeLabFault(f lab.Injected) string {
	words := []string{f.Device + " of " + f.Node + ": " + f.Tool}
	if f.Tool == lab.Netem && f.Delay > 0 {
		words = append(words, "delay "+labSeconds(f.Delay))
	}
	if f.Rate > 0 {
		words = append(words, fmt.Sprintf("rate %.1f kbit/s", float64(f.Rate)/1000))
	}
	if f.Tool == lab.Netem {
		if f.Loss > 0 {
			words = append(words, fmt.Sprintf("loss %.1f%%", f.Loss*100))
		}
	} else {
		words = append(words, fmt.Sprintf("limit %d bytes (%s)", f.Limit, labSeconds(f.Delay)))
	}
	return strings.Join(words, ", ")
}

func expectation(e lab.Expected) string {
	s := fmt.Sprintf("%s delay and %.1f%% loss", labSeconds(e.Delay), e.Loss*100)
	if e.Settle >= 1 {
		s += fmt.Sprintf(" after some %.0f s", e.Settle)
	}
	return s
}

func note(e lab.Expected) string {
	if e.Note == "" {
		return ""
	}
	return strings.ToUpper(e.Note[:1]) + e.Note[1:] + ".\n"
}

// labSeconds writes a time with three digits that matter.
func labSeconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	default:
		return d.Round(time.Microsecond).String()
	}
}
