package main

import (
	"context"
	"fmt"
	"time"
)

// longLoad is watched for longer than the agent keeps moments, so that its memory has its size.
func longLoad(watch time.Duration) nodeLoad {
	return nodeLoad{Flows: 10_000, Pods: 500, Devices: 1, Rate: 5_000, Watch: watch}
}

// scaleLoads differ in flows, then in pods, each with a device.
func scaleLoads(watch time.Duration) (loads []nodeLoad) {
	for _, l := range []struct{ flows, pods int }{
		{0, 50}, {1_000, 50}, {10_000, 50}, {100_000, 50}, {1_000, 1}, {1_000, 250}, {1_000, startDevices},
	} {
		loads = append(loads, newLoad(l.flows, l.pods, watch))
	}
	return loads
}

func newLoad(flows, pods int, watch time.Duration) nodeLoad {
	return nodeLoad{Flows: flows, Pods: pods, Devices: pods, Rate: 20_000, Watch: watch}
}

// idleLoad and busyLoad are those of scaleLoads that have a limit of CPU time: shares of a core.
const (
	idleLoad, busyLoad   = 0, 1
	idleLimit, busyLimit = 0.01, 0.02
)

// What the start of an agent with startDevices devices is to take: so long, and less than a share of a core if it is longer than startBurst.
const (
	startDevices           = 500
	startLimit, startBurst = 3.0, 5.0 // seconds
	startShare             = 0.1
)

// startsInTime and startsQuietly tell whether it does.
func (c *agentCost) startsInTime() bool { return c.StartSeconds <= startLimit }

func (c *agentCost) startsQuietly() bool {
	return c.StartSeconds <= startBurst || c.StartCPUSeconds <= startShare*c.StartSeconds
}

// growth is how many times as much a packet costs, the agent and the programs together, where there are many pods and
// flows.
type growth struct {
	Ratio float64 `json:"ratio"` // the median of the rounds
	// Programs and Agent are likewise, of each by itself; Share is the programs' of what a packet costs in one flow.
	Programs float64 `json:"programs"`
	Agent    float64 `json:"agent"`
	Share    float64 `json:"programs_share"`
	Spread   float64 `json:"spread"`
	Rounds   int     `json:"rounds"`
	bounds
}

const growthLimit = 1.10

// measureScale has an agent for each load, one after another.
func measureScale(ctx context.Context, loads []nodeLoad) ([]agentCost, error) {
	var costs []agentCost
	for _, l := range loads {
		c, _, err := measureAgent(ctx, l)
		if err != nil {
			return nil, fmt.Errorf("%d flows of %d pods: %w", l.Flows, l.Pods, err)
		}
		costs = append(costs, c)
	}
	return costs, nil
}

// measureGrowth compares 1,000 flows of 64 pods with one, in pairs.
func measureGrowth(ctx context.Context, rounds int, watch time.Duration) (growth, error) {
	var ratios, programs, agents, shares []float64
	for range rounds {
		costs, err := measureScale(ctx, []nodeLoad{newLoad(1, 1, watch), newLoad(1_000, 64, watch)})
		if err != nil {
			return growth{}, err
		}
		one, many := &costs[0], &costs[1]
		ratios = append(ratios, many.packetNs()/one.packetNs())
		programs = append(programs, many.ProgramNs/one.ProgramNs)
		agents = append(agents, many.CPUSeconds/one.CPUSeconds)
		shares = append(shares, one.ProgramNs/one.packetNs())
	}
	q := quartilesOf(ratios)
	median := func(values []float64) float64 { return thousandths(quartilesOf(values).median) }
	return growth{thousandths(q.median), median(programs), median(agents), median(shares), thousandths(q.spread()), rounds, boundsOf(ratios)}, nil
}

// packetNs is what a packet costs in all.
func (c *agentCost) packetNs() float64 { return c.ProgramNs + c.CPUSeconds*1e3 }
