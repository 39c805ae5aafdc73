package main

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/grafana/grafana-foundation-sdk/go/common"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
	"github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
)

// board is a dashboard: panels of one query each, two in a row.
type board struct {
	uid, title, about string
	// all: the variables may stand for all values at once. One node's or pair's board would ask too much of a large cluster so.
	all       bool
	variables []variable
	panels    []panel
}

// variable chooses from the values of a label.
type variable struct{ name, metric, label string }

type panel struct{ title, about, unit, expr, legend string }

const ofNode = `{node=~"$node", instance=~"$instance"}`

func boards() []board {
	node := []variable{{"node", "tracer_build_info", "node"}, {"instance", `tracer_build_info{node=~"$node"}`, "instance"}}
	pairs := []variable{{"src", "tracer_packets_total", "src_workload"}, {"dst", `tracer_packets_total{src_workload=~"$src"}`, "dst_workload"}}
	const ofPair = `{src_workload=~"$src", dst_workload=~"$dst"}`
	const pair = pairLabels
	const pairLegend = "{{src_namespace}}/{{src_workload}} → {{dst_namespace}}/{{dst_workload}}"
	return []board{
		{"tracer-cluster", "tracer / cluster", "What is wrong, and where, by rules that are recorded: it stays quick with thousands of nodes.", false, nil, []panel{
			{"Nodes with findings", "How many nodes have one of each cause. A rise on many at once is seldom a node's fault.", "short", `tracer:findings:count`, "{{cause}} ({{severity}})"},
			{"Agents", "How many are scraped, by version.", "short", `tracer:agents:count`, "{{version}}"},
			{"Packets dropped, by reason", "The kernel's reasons, on all nodes together.", "pps", `topk(10, tracer:drops:rate5m)`, "{{reason}} in {{stage}}"},
			{"Nodes that drop most", "", "pps", `topk(10, node:tracer_drops:rate5m)`, "{{node}} {{instance}}"},
			{"Time in a stage, p99", "On all nodes together, by device.", "s", `topk(10, tracer:stage_delay_seconds:p99)`, "{{stage}} {{device}} {{direction}}"},
			{"Slowest nodes, p99 in a queue", "", "s", `topk(10, node:tracer_stage_delay_seconds:p99{stage="queue"})`, "{{node}} {{instance}} {{device}}"},
			{"Slowest pairs, p99", "The whole time on the nodes that see them.", "s", `topk(10, pair:tracer_path_delay_seconds:p99)`, pairLegend},
			{"Pairs that lose most", "", "pps", `topk(10, pair:tracer_drops:rate5m)`, pairLegend},
		}},
		{"tracer-node", "tracer / node", "One node: its findings, stages, queues and losses.", false, node, []panel{
			{"Findings", "1 while one is active.", "short", `max by (cause, severity, stage, device, direction) (tracer_finding` + ofNode + `)`, "{{severity}} {{cause}} {{stage}} {{device}} {{direction}}"},
			{"Time in a stage, p99", "", "s", quantile("0.99", "tracer_device_stage_delay_seconds", "stage, device, direction", ofNode), "{{stage}} {{device}} {{direction}}"},
			{"Time in a stage, p50", "", "s", quantile("0.5", "tracer_device_stage_delay_seconds", "stage, device, direction", ofNode), "{{stage}} {{device}} {{direction}}"},
			{"Oldest packet in flight", "How long the one that waits longest has been waiting.", "s", `max by (device, direction) (tracer_inflight_oldest_seconds` + ofNode + `)`, "{{device}} {{direction}}"},
			{"Packets dropped", "", "pps", `sum by (reason, stage, device, direction) (rate(tracer_drops_total` + ofNode + `[5m]))`, "{{reason}} {{stage}} {{device}} {{direction}}"},
			{"Drops of qdiscs", "As the qdiscs themselves count them.", "pps", `sum by (device, kind) (rate(tracer_qdisc_drops_total` + ofNode + `[5m]))`, "{{device}} {{kind}}"},
			{"Backlog of qdiscs", "", "bytes", `sum by (device, kind) (tracer_qdisc_backlog_bytes` + ofNode + `)`, "{{device}} {{kind}}"},
			{"Qdiscs", "Which kinds there are: one that comes or goes may be the cause.", "short", `max by (device, kind) (tracer_qdisc_info` + ofNode + `)`, "{{device}} {{kind}}"},
			{"Packets seen to their end", "What is below 95 % hides something.", "percentunit", `min by (device, direction) (tracer_coverage_ratio` + ofNode + `)`, "{{device}} {{direction}}"},
			{"Busiest pairs", "", "pps", `topk(10, sum by (` + pair + `) (rate(tracer_packets_total{node=~"$node", instance=~"$instance", src_workload!="_other"}[5m])))`, pairLegend},
		}},
		{"tracer-pair", "tracer / pair", "Two workloads: where on the nodes their packets' time goes, and where they are lost.", false, pairs, []panel{
			{"Time on the nodes, p99", "From the first hook to the last, by direction.", "s", quantile("0.99", "tracer_path_delay_seconds", pair+", direction", ofPair), pairLegend + " {{direction}}"},
			{"Time by stage, p99", "", "s", quantile("0.99", "tracer_stage_delay_seconds", "stage, device, direction", ofPair), "{{stage}} {{device}} {{direction}}"},
			{"Packets", "", "pps", `sum by (` + pair + `) (rate(tracer_packets_total` + ofPair + `[5m]))`, pairLegend},
			{"Bytes", "Of the innermost IP packets.", "Bps", `sum by (` + pair + `) (rate(tracer_bytes_total` + ofPair + `[5m]))`, pairLegend},
			{"Packets dropped", "", "pps", `sum by (` + pair + `, reason) (rate(tracer_pair_drops_total` + ofPair + `[5m]))`, "{{reason}} " + pairLegend},
			{"TCP round trip, p50", "With delayed acknowledgements and the time that an application takes.", "s", quantile("0.5", "tracer_tcp_rtt_seconds", pair, ofPair), pairLegend},
			{"TCP segments sent again", "", "pps", `sum by (` + pair + `) (rate(tracer_tcp_retransmits_total` + ofPair + `[5m]))`, pairLegend},
		}},
		{"tracer-agents", "tracer / agents", "The agents themselves: what they see, what they miss, what they cost.", true, node, []panel{
			{"Hooks that are not up", "", "short", `count by (hook, device) (tracer_hook_up` + ofNode + ` == 0)`, "{{hook}} {{device}}"},
			{"Hooks attached again", "Others had removed them or gone before them.", "short", `sum by (hook, device) (increase(tracer_hook_reattached_total` + ofNode + `[5m]))`, "{{hook}} {{device}}"},
			{"Least coverage", "", "percentunit", `bottomk(10, min by (node, instance) (tracer_coverage_ratio` + ofNode + `))`, "{{node}} {{instance}}"},
			{"Packets sampled", "The share that had a journey, since the start.", "percentunit", `bottomk(10, tracer_sample_ratio` + ofNode + `)`, "{{node}} {{instance}}"},
			{"Records missed", "The agent did not come to read them.", "short", `sum by (kind) (rate(tracer_records_lost_total` + ofNode + `[5m]))`, "{{kind}}"},
			{"Journeys by outcome", "", "short", `sum by (outcome) (rate(tracer_journeys_total` + ofNode + `[5m]))`, "{{outcome}}"},
			{"CPU time", "In cores.", "short", `topk(10, rate(process_cpu_seconds_total` + ofNode + `[5m]) and on (node, instance) tracer_build_info)`, "{{node}} {{instance}}"},
			{"Memory", "Resident, without the kernel's maps.", "bytes", `topk(10, process_resident_memory_bytes` + ofNode + ` and on (node, instance) tracer_build_info)`, "{{node}} {{instance}}"},
			{"Addresses without a name", "", "short", `topk(10, rate(tracer_identity_misses_total` + ofNode + `[5m]))`, "{{node}} {{instance}}"},
			{"Series beyond --max-series", "Their pairs share _other.", "short", `topk(10, rate(tracer_series_overflow_total` + ofNode + `[5m]))`, "{{node}} {{instance}}"},
		}},
	}
}

// json is the dashboard as Grafana imports it.
func (b *board) json() ([]byte, error) {
	source := common.DataSourceRef{Type: ptr("prometheus"), Uid: ptr("${datasource}")}
	d := dashboard.NewDashboardBuilder(b.title).Uid(b.uid).Description(b.about).Tags([]string{"tracer"}).Readonly().Time("now-1h", "now").
		Refresh("30s").Timezone("browser").WithVariable(dashboard.NewDatasourceVariableBuilder("datasource").Label("data source").Type("prometheus"))
	for _, v := range b.variables {
		query := fmt.Sprintf("label_values(%s, %s)", v.metric, v.label)
		d.WithVariable(dashboard.NewQueryVariableBuilder(v.name).Label(v.name).Datasource(source).Query(dashboard.StringOrMap{String: &query}).
			Refresh(dashboard.VariableRefreshOnTimeRangeChanged).Multi(b.all).IncludeAll(b.all).AllValue(".*"))
	}
	for _, p := range b.panels {
		d.WithPanel(timeseries.NewPanelBuilder().Title(p.title).Description(p.about).Datasource(source).Unit(p.unit).Min(0).Span(12).Height(8).
			WithTarget(prometheus.NewDataqueryBuilder().Expr(p.expr).LegendFormat(p.legend).RefId("A")))
	}
	built, err := d.Build()
	if err != nil {
		return nil, fmt.Errorf("make dashboard %s: %w", b.uid, err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(built); err != nil {
		return nil, fmt.Errorf("write dashboard %s: %w", b.uid, err)
	}
	return out.Bytes(), nil
}

func ptr[T any](v T) *T { return &v }
