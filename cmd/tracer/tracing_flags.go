package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tracer/internal/agent"
	"tracer/internal/agent/latenames"
	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/identity"
	"tracer/internal/loader"
)

// tracingFlags are those of every command that can trace by itself.
type tracingFlags struct {
	devices      []string
	identityFile string
	node         string
	runDir       string
	limits       governor.Limits
	expect       expectFlag            // of those that diagnose
	stateDir     string                // of the agent; "" for those that trace for a while
	logFindings  bool                  // of the agent
	incidents    agent.IncidentOptions // likewise
	samplingKey  func() string         // likewise; nil for none
}

func (f *tracingFlags) add(cmd *cobra.Command) {
	addDevices(cmd, &f.devices)
	addRunDir(cmd, &f.runDir)
	cmd.Flags().StringVar(&f.identityFile, "identity-file", "",
		"YAML file that names addresses (default: the one for this namespace in --run-dir, if there is one)")
	cmd.Flags().IntVar(&f.limits.MaxRecords, "max-records", governor.DefaultMaxRecords,
		"most packets a second to track: above it packets are sampled, some of every flow")
	cmd.Flags().Float64Var(&f.limits.MaxCPU, "max-cpu", governor.DefaultMaxCPU,
		"most CPU time to take, in cores: above it fewer packets are tracked")
	cmd.Flags().StringVar(&f.node, "node-name", "", "this node's name (default: $NODE_NAME, the identity file's, the host's)")
}

func addDevices(cmd *cobra.Command, patterns *[]string) {
	cmd.Flags().StringSliceVar(patterns, "devices", nil,
		"trace only devices that match, such as 'cali*,tunl0'; 'uplink=ens*' also says what they are for (default: by role)")
}

// names reads the identity file: the one given, or the lab's for this namespace.
func (f *tracingFlags) names(files loader.Files) (*identity.Table, error) {
	if f.identityFile != "" {
		return identity.LoadFile(f.identityFile)
	}
	table, err := identity.LoadFile(files.IdentityFile())
	if errors.Is(err, os.ErrNotExist) {
		return new(identity.Table), nil
	}
	return table, err
}

// start begins to trace the current namespace.
func (f *tracingFlags) start() (*node, error) {
	files, err := loader.CurrentFiles(f.runDir)
	if err != nil {
		return nil, err
	}
	table, err := f.names(files)
	if err != nil {
		return nil, err
	}
	a, err := f.startAgent(table, nil)
	if err != nil {
		return nil, err
	}
	named := func() string {
		for _, address := range a.Addresses() {
			if id := table.Lookup(address, 0); id.Node != "" {
				return id.Node
			}
		}
		return ""
	}
	return newNode(a, f.nodeName(named), table, nil), nil
}

// startAgent starts one with those names; owners is where they come from, if more may be learnt late.
func (f *tracingFlags) startAgent(names aggregate.Namer, owners latenames.OwnerSource) (*agent.Agent, error) {
	switch {
	case f.limits.MaxRecords < 1:
		return nil, fmt.Errorf("--max-records %d: give at least 1", f.limits.MaxRecords)
	case !(f.limits.MaxCPU > 0):
		return nil, fmt.Errorf("--max-cpu %v: give more than 0, such as 0.05 for a twentieth of a core", f.limits.MaxCPU)
	}
	expected, err := f.expect.parse()
	if err != nil {
		return nil, err
	}
	return agent.Start(agent.Options{
		Loader: loader.Options{Dir: f.runDir}, Devices: f.devices, Namer: names, OwnerSource: owners, Limits: f.limits,
		ExpectQdisc: expected, SamplingKey: f.samplingKey, StateDir: f.stateDir, LogFindings: f.logFindings, Incidents: f.incidents,
	})
}

// nodeName is this node's name as given, or as the environment has it, or as named says, or the host's.
func (f *tracingFlags) nodeName(named func() string) string {
	if f.node != "" {
		return f.node
	}
	if name := os.Getenv("NODE_NAME"); name != "" {
		return name
	}
	if named != nil {
		if name := named(); name != "" {
			return name
		}
	}
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}
