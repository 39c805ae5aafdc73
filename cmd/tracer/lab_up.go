//go:build !nolab

package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

func newLabUpCommand(flags *labFlags) *cobra.Command {
	o := lab.Options{Load: lab.StoryLoad()}
	var pods []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the lab and start its application",
		Example: `  $tracer lab up
  $tracer lab up --nodes 3 --pod cache@node1 --pod worker@node3
  $tracer lab up --rate 100      # enough to fill a queue of 50 kbit/s for good`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			for _, s := range pods {
				pod, err := lab.ParsePod(s)
				if err != nil {
					return err
				}
				o.Pods = append(o.Pods, pod)
			}
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program for the application: %w", err)
			}
			o.App = []string{exe, "lab", "app"}
			o.Load.Sockets = load.SocketsFor(o.Load.Rate)
			o.Name, o.RunDir = flags.name, flags.runDir
			l, err := lab.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			return flags.printStatus(cmd.OutOrStdout(), l)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Nodes, "nodes", 2, "how many nodes")
	f.StringVar(&o.Machine, "machine", "", "the node that this machine is, as node1: no other is made here (of the others there is a lab of the same flags on theirs)")
	f.StringVar(&o.Overlay, "overlay", lab.Auto, "ipip, vxlan, wireguard, native for none, or auto for ipip where the kernel has it")
	f.BoolVar(&o.HostRouting, "host-routing", false, "have BPF programs route pods' packets, as Cilium's do (with overlay vxlan or native)")
	f.BoolVar(&o.Netkit, "netkit", false, "connect pods by netkit and not by veth (kernels from 6.7 on)")
	f.StringArrayVar(&pods, "pod", []string{"cache@node1"}, "a pod beside web and api, as name@node; may be repeated")
	f.Float64Var(&o.Load.Rate, "rate", o.Load.Rate, "UDP calls per second from web to api")
	f.IntVar(&o.Load.Size, "size", o.Load.Size, fmt.Sprintf("bytes of payload in a UDP call, %d to %d", load.MinSize, load.MaxSize))
	f.DurationVar(&o.Load.TCP, "tcp", o.Load.TCP, "time between two TCP calls, 0 for none")
	f.DurationVar(&o.Load.Work, "work", o.Load.Work, "how long api takes for each call")
	return cmd
}
