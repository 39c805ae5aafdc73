package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tracer/internal/console"
	"tracer/internal/device"
	"tracer/internal/diagnose"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// checkReport is what `tracer check -o json` prints.
type checkReport struct {
	SchemaVersion int               `json:"schema_version"`
	OK            bool              `json:"ok"` // an agent would run here
	Problems      []string          `json:"problems"`
	Kernel        string            `json:"kernel"`
	BTF           bool              `json:"btf"`
	TCX           bool              `json:"tcx"`
	DropReasons   bool              `json:"drop_reasons"`
	Capabilities  map[string]bool   `json:"capabilities"`
	Running       bool              `json:"running"` // a tracer holds this namespace
	Hooks         []loader.Hook     `json:"hooks"`
	Omitted       []loader.Omission `json:"omitted"`
	// Why has, by their names, the reasons of hooks that are not always used.
	Why     map[string]string `json:"why,omitempty"`
	Devices []netdev.Device   `json:"devices"`
	// Warnings are what may hurt packets, or does, found without tracing any.
	Warnings []diagnose.Finding `json:"warnings"`
	// Unread says why some of the kernel's counters and settings could not be looked at; "" if all could.
	Unread string `json:"unread,omitempty"`
}

func newCheckCommand() *cobra.Command {
	var output, runDir string
	var patterns []string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Show what this kernel and this node let tracer see, and what not",
		Long: `Show what this kernel and this node let tracer see: the hooks that would be used, those
left out and why, the devices with their roles and qdiscs. Nothing is attached.
It warns of what needs no packets to be found: an overlay whose packets do not fit into the
uplink, counters of the network card that rise within a second.
It exits 1 if an agent could not run here.`,
		Example: "  $tracer check\n  $tracer check -o json | jq .omitted",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.OneOf("output", output, "table", "json"); err != nil {
				return err
			}
			report, err := check(runDir, patterns)
			if err != nil {
				return err
			}
			if output == "json" {
				err = console.WriteJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.write(cmd.OutOrStdout())
			}
			if err == nil && !report.OK {
				return exitCode(1)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "table", "how to print: table or json")
	addDevices(cmd, &patterns)
	addRunDir(cmd, &runDir)
	return cmd
}

func check(runDir string, patterns []string) (checkReport, error) {
	r := checkReport{SchemaVersion: 1, Problems: []string{}, Warnings: []diagnose.Finding{}, Kernel: kernelRelease(), Capabilities: map[string]bool{}}
	features, err := loader.ProbeFeatures()
	if err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	r.BTF, r.TCX, r.DropReasons = err == nil, features.TCX, features.DropReasons
	if r.Capabilities, err = capabilities(); err != nil {
		return r, err
	}
	for _, c := range needed {
		if !r.Capabilities[c.name] {
			r.Problems = append(r.Problems, fmt.Sprintf("capability %s is missing: it is needed to %s; run as root", c.name, c.use))
		}
	}
	state, err := device.List()
	if err != nil {
		return r, err
	}
	if r.Devices, err = device.Match(patterns, state.Devices); err != nil {
		return r, err
	}
	if r.BTF {
		plan, err := loader.PlanHooks(features, r.Devices, func(int) time.Duration { return math.MaxInt64 })
		if err != nil {
			r.Problems = append(r.Problems, err.Error())
		}
		r.Why = plan.Why
		r.Hooks, r.Omitted = plan.Hooks, append(plan.Omitted, loader.ForeignPrograms(r.Devices)...)
		obstacles, err := loader.Obstacles(features, plan.Hooks)
		if err != nil {
			return r, err
		}
		r.Omitted = append(r.Omitted, obstacles...)
		if !leadsOut(plan, r.Devices) {
			r.Problems = append(r.Problems, "no overlay or uplink device found here: name them with --devices, such as --devices 'uplink=ens*'")
		}
	}
	files, err := loader.CurrentFiles(runDir)
	if err != nil {
		return r, err
	}
	r.Running = files.Locked()
	found, err := staticFindings(func(all []netdev.Device) ([]netdev.Device, error) { return device.Match(patterns, all) })
	if err != nil {
		r.Unread = err.Error()
	}
	r.Warnings = append(r.Warnings, found...)
	r.OK = len(r.Problems) == 0
	return r, nil
}

// leadsOut tells whether a device through which packets leave the node has a hook in the plan.
func leadsOut(plan loader.Plan, devices []netdev.Device) bool {
	for _, h := range plan.Hooks {
		for _, d := range devices {
			if d.Index == h.Ifindex && d.Role.LeadsOut() {
				return true
			}
		}
	}
	return false
}

func (r *checkReport) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	yes := func(b bool) string {
		if b {
			return "yes"
		}
		return "no"
	}
	fmt.Fprintf(t, "kernel\t%s\n", r.Kernel)
	fmt.Fprintf(t, "type information (BTF)\t%s\n", yes(r.BTF))
	fmt.Fprintf(t, "TCX (else clsact)\t%s\n", yes(r.TCX))
	fmt.Fprintf(t, "reasons of drops\t%s\n", yes(r.DropReasons))
	fmt.Fprintf(t, "a tracer runs here\t%s\n", yes(r.Running))
	fmt.Fprintf(t, "\nDEVICE\tROLE\tKIND\tSTATE\tROOT QDISC\n")
	for _, d := range r.Devices {
		state := "down"
		if d.Up {
			state = "up"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", d.Name, d.Role, d.Kind, state, d.Root.String())
	}
	fmt.Fprintf(t, "\nHOOK\tAT\tPROGRAM\tWHY\n")
	for _, h := range r.Hooks {
		at := "kernel"
		if h.Device != "" {
			at = h.Device
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", h.Name, at, h.Program, r.Why[h.Name])
	}
	if len(r.Omitted) > 0 {
		fmt.Fprintf(t, "\nLEFT OUT\tAT\tWHY\n")
	}
	for _, o := range r.Omitted {
		at := "kernel"
		if o.Device != "" {
			at = o.Device
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", o.Hook, at, o.Reason)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for i := range r.Warnings {
		f := &r.Warnings[i]
		fmt.Fprintf(w, "\n%s: %s: %s\n", f.Severity, f.Cause, f.Sentence())
		for _, line := range f.Evidence {
			fmt.Fprintf(w, "  %s\n", line)
		}
		for _, command := range f.Next {
			fmt.Fprintf(w, "  next: %s\n", command)
		}
	}
	if r.Unread != "" {
		fmt.Fprintf(w, "\nnot looked at: %s\n", r.Unread)
	}
	if r.OK {
		_, err := fmt.Fprintln(w, "\nok: tracer can run here")
		return err
	}
	_, err := fmt.Fprintln(w, "\ntracer cannot run here:\n  "+strings.Join(r.Problems, "\n  "))
	return err
}

type capability struct {
	name string
	bit  int
	use  string
}

// needed are the capabilities that nothing works without. CAP_SYS_ADMIN includes the first two, which kernels
// have had since 5.8.
var needed = [...]capability{
	{"CAP_BPF", unix.CAP_BPF, "load BPF programs"},
	{"CAP_PERFMON", unix.CAP_PERFMON, "attach them to tracepoints"},
	{"CAP_NET_ADMIN", unix.CAP_NET_ADMIN, "attach them to devices"},
}

// capabilities are those of needed that this process has.
func capabilities() (map[string]bool, error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil, fmt.Errorf("read this process's capabilities: %w", err)
	}
	has := func(bit int) bool { return data[bit/32].Effective>>(bit%32)&1 != 0 }
	found := map[string]bool{}
	for _, c := range needed {
		found[c.name] = has(c.bit) || c.bit != unix.CAP_NET_ADMIN && has(unix.CAP_SYS_ADMIN)
	}
	return found, nil
}
