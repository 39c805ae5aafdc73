//go:build !nolab

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agent"
	"tracer/internal/console"
	"tracer/internal/diagnose"
	"tracer/internal/identity"
	"tracer/internal/lab"
	"tracer/internal/loader"
)

const (
	demoLab     = "demo"
	demoHealthy = 6 * time.Second
	demoFaulted = 12 * time.Second
	demoHealed  = 4 * time.Second
	// demoSettle is how long the demo waits at most for the queue to fill. netem's own, of 1,000 packets, would take minutes.
	demoSettle = 6 * time.Second
)

// demoFault is the story's: what the tool comcast sets on tunl0.
var demoFault = lab.Fault{Delay: 500 * time.Millisecond, Rate: 50_000, Loss: 0.1}

// demoReport is what `tracer demo -o json` prints.
type demoReport struct {
	Overlay  string          `json:"overlay"` // ipip or vxlan
	Fault    string          `json:"fault"`   // the commands that do the same by hand
	Healthy  diagnose.Report `json:"healthy"`
	Faulted  diagnose.Report `json:"faulted"`
	Injected demoInjected    `json:"injected"`
	Calls    []callMoment    `json:"calls"` // over time
}

// demoInjected is the fault as the application's own clock and counts saw it, never as we measured it.
type demoInjected struct {
	Device       string  `json:"device"`
	DelaySeconds float64 `json:"delay_seconds"` // median, one way
	LossRatio    float64 `json:"loss_ratio"`
	RateBits     uint64  `json:"rate_bits"`
}

func newDemoCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole story on this machine alone: a slow overlay, found",
		Long: `Show the whole story on this machine alone, in about half a minute: build two nodes with
an overlay and a pod that calls another, time the healthy path, put a fault onto the
overlay's queue, name it, draw where the time of calls went, and take everything away
again. It touches nothing but network namespaces of its own; the kernel's modules for
them (ipip, sch_netem) stay loaded.`,
		Example: "  $tracer demo\n  $tracer demo -o json | jq .faulted.summary",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			text := newDemoText(out, console.Colorful(os.Stdout))
			if output == "json" {
				text = newDemoText(io.Discard, false)
			}
			report, err := demo(cmd.Context(), text)
			if err != nil {
				return err
			}
			if output == "json" {
				return console.WriteJSON(out, report)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// demo tells the story and returns what it showed.
func demo(ctx context.Context, t *demoText) (r demoReport, err error) {
	t.title()
	l, err := lab.Up(ctx, lab.Options{Name: demoLab, Load: lab.StoryLoad()})
	if err != nil {
		return r, err
	}
	defer func() {
		if down := l.Down(); down != nil {
			err = errors.Join(err, fmt.Errorf("take the lab down: %w; `tracer lab down --name %s` tries again", down, demoLab))
		} else if err == nil {
			t.clean(l)
		}
	}()
	t.lab(l)
	nodes, stop, err := traceLab(ctx, l)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, stop()) }()

	r.Overlay = l.Overlay()
	w := newLabWatch(l, nodes)
	healthy, err := w.watch(ctx, "healthy", demoHealthy)
	if err != nil {
		return r, err
	}
	r.Healthy = healthy.report()
	t.healthy(l, healthy)

	injected, err := l.Fault(demoFault)
	if err != nil {
		return r, err
	}
	r.Fault = strings.Join(injected.Commands, "; ")
	t.fault(injected)
	if _, err := w.watch(ctx, "faulted", settling(injected.Expected.Settle)); err != nil {
		return r, err
	}
	faulted, err := w.watch(ctx, "faulted", demoFaulted)
	if err != nil {
		return r, err
	}
	r.Faulted = faulted.report()
	r.Injected = demoInjected{
		Device:       injected.Device,
		DelaySeconds: faulted.seen.Request.Delay.P50,
		LossRatio:    faulted.seen.Request.LossRatio,
		RateBits:     injected.Rate,
	}
	t.faulted(l, healthy, faulted)
	if err := l.Heal(); err != nil {
		return r, err
	}
	if _, err := w.watch(ctx, "healed", demoHealed); err != nil {
		return r, err
	}
	r.Calls = w.moments
	t.healed(w.moments)
	if r.Faulted.Verdict != diagnose.Fault {
		return r, fmt.Errorf("the fault on %s was not found: the verdict is %q", injected.Device, r.Faulted.Verdict)
	}
	return r, nil
}

// settling is how long the demo waits for a queue that fills in so many seconds, in whole moments.
func settling(seconds float64) time.Duration {
	moments := math.Ceil((min(seconds, demoSettle.Seconds()-0.5) + 0.5) / momentEvery.Seconds())
	return time.Duration(moments) * momentEvery
}

// traceLab starts an agent on each node.
func traceLab(ctx context.Context, l *lab.Lab) (nodes []*agent.Agent, stop func() error, err error) {
	running, cancel := context.WithCancel(ctx)
	ended := make(chan error, len(l.Nodes()))
	stop = func() error {
		cancel()
		var errs []error
		for _, a := range nodes {
			errs = append(errs, <-ended, a.Close())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, stop())
		}
	}()
	kernel := &loader.Kernel{}
	for _, n := range l.Nodes() {
		names, err := identity.LoadFile(n.IdentityFile)
		if err != nil {
			return nodes, stop, err
		}
		var a *agent.Agent
		err = n.Do(func() (err error) {
			a, err = agent.Start(agent.Options{Loader: loader.Options{Kernel: kernel}, Namer: names})
			return err
		})
		if err != nil {
			return nodes, stop, fmt.Errorf("trace %s: %w", n.Name, err)
		}
		nodes = append(nodes, a)
		go func() { ended <- a.Run(running) }()
	}
	return nodes, stop, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w; the lab is removed", errInterrupted)
	}
}
