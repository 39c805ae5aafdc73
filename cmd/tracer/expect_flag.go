package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// expectFlag is --expect-qdisc: the root qdiscs that are there on purpose.
type expectFlag []string

func (f *expectFlag) add(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar((*[]string)(f), "expect-qdisc", nil,
		"root qdisc that a device has on purpose, such as eth0=tbf (repeatable): it is no misconfiguration, and may hold and drop what it is set to")
}

// qdiscKinds are those of the kernel that can be a root.
var qdiscKinds = []string{
	"bfifo", "cake", "cbq", "cbs", "codel", "drr", "dualpi2", "etf", "ets", "fq", "fq_codel", "fq_pie", "gred", "hfsc", "hhf", "htb",
	"mq", "mqprio", "multiq", "netem", "noqueue", "pfifo", "pfifo_fast", "pfifo_head_drop", "pie", "plug", "prio", "qfq", "red", "sfb",
	"sfq", "skbprio", "taprio", "tbf",
}

// parse is the kind by device.
func (f expectFlag) parse() (map[string]string, error) {
	kinds := make(map[string]string)
	for _, text := range f {
		device, kind, ok := strings.Cut(text, "=")
		const longest = 15 // IFNAMSIZ
		switch {
		case !ok || device == "" || kind == "":
			return nil, fmt.Errorf("--expect-qdisc %q: give device=kind, such as eth0=tbf", text)
		case len(device) > longest || strings.ContainsAny(device, "/ \t*"):
			return nil, fmt.Errorf("--expect-qdisc %q: %q is no name of a device", text, device)
		case !slices.Contains(qdiscKinds, kind):
			return nil, fmt.Errorf("--expect-qdisc %q: there is no qdisc %q; choose one of %s", text, kind, strings.Join(qdiscKinds, ", "))
		case kinds[device] != "" && kinds[device] != kind:
			return nil, fmt.Errorf("--expect-qdisc: %s cannot have both %s and %s as its root", device, kinds[device], kind)
		}
		kinds[device] = kind
	}
	return kinds, nil
}
