//go:build !nolab

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	demoHealthy = 8 * time.Second
	demoFaulted = 12 * time.Second
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
overlay's queue, name it, and take everything away again. It touches nothing but
network namespaces of its own.`,
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
	l, err := lab.Up(ctx, lab.Options{Name: demoLab})
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
	healthy, err := watchLab(ctx, l, nodes, demoHealthy)
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
	if err := sleep(ctx, time.Duration(injected.Expected.Settle*float64(time.Second))+time.Second); err != nil {
		return r, err
	}
	faulted, err := watchLab(ctx, l, nodes, demoFaulted)
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
	if r.Faulted.Verdict != diagnose.Fault {
		return r, fmt.Errorf("the fault on %s was not found: the verdict is %q", injected.Device, r.Faulted.Verdict)
	}
	return r, nil
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
	for _, n := range l.Nodes() {
		names, err := identity.LoadFile(n.IdentityFile)
		if err != nil {
			return nodes, stop, err
		}
		var a *agent.Agent
		err = n.Do(func() (err error) {
			a, err = agent.Start(agent.Options{Loader: loader.Options{}, Namer: names})
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

// labWindow is what agents and application saw in the same span of time.
type labWindow struct {
	names    []string            // the nodes'
	from, to []diagnose.Snapshot // one for each node
	seen     lab.Report
}

// report judges the first node, where the caller's packets leave.
func (w *labWindow) report() diagnose.Report {
	return diagnose.Diagnose(w.names[0], w.from[0], w.to[0])
}

func watchLab(ctx context.Context, l *lab.Lab, nodes []*agent.Agent, duration time.Duration) (*labWindow, error) {
	w := &labWindow{from: make([]diagnose.Snapshot, len(nodes)), to: make([]diagnose.Snapshot, len(nodes))}
	for _, n := range l.Nodes() {
		w.names = append(w.names, n.Name)
	}
	begin := loader.Monotonic()
	if err := takeSnapshots(nodes, w.from); err != nil {
		return nil, err
	}
	if err := sleep(ctx, duration); err != nil {
		return nil, err
	}
	err := takeSnapshots(nodes, w.to)
	if err != nil {
		return nil, err
	}
	// What was sent in the window and has arrived, or was sent long enough before that to be lost.
	w.seen, err = l.Recent(loader.Monotonic()-begin, loader.Monotonic())
	return w, err
}

func takeSnapshots(nodes []*agent.Agent, into []diagnose.Snapshot) (err error) {
	for i, a := range nodes {
		if into[i], err = a.TakeSnapshot(); err != nil {
			return err
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w; the lab is removed", errInterrupted)
	}
}
