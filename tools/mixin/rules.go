package main

import (
	"bytes"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// runbooks stands in the file for the address of docs/causes, which the chart puts there.
const runbooks = "RUNBOOKS"

// family are causes that the same people look into: one alert.
type family struct {
	alert, summary string
	causes         []string
}

// families are all causes that an agent finds, each once. (wire is found by kubectl tracer alone, and requests-slow is no fault.)
func families() []family {
	return []family{
		{"TracerQueue", "a queue delays or drops packets", []string{"qdisc-delay", "qdisc-drop"}},
		{"TracerLink", "a link or a network card loses packets", []string{"link-down", "nic", "checksum"}},
		{"TracerPolicy", "a policy drops packets, or a Service has no endpoints", []string{"policy-drop", "no-endpoints"}},
		{"TracerConntrack", "the connection table loses or does not translate packets", []string{"conntrack-full", "conntrack-insert-failed", "not-translated"}},
		{"TracerRouting", "the node's routing loses packets", []string{"no-route", "ttl", "rp-filter", "neighbour"}},
		{"TracerMTU", "packets are too large for their way", []string{"mtu", "fragments"}},
		{"TracerNode", "the node's kernel is late with packets, or drops them", []string{"backlog-overflow", "softirq-delay", "forward-delay", "encap-delay"}},
		{"TracerPod", "a pod does not take or send what it should", []string{"receiver-slow", "server-slow", "requests-unanswered", "no-listener", "accept-queue-full", "pod-loss"}},
		{"TracerEncryption", "encryption between nodes loses packets", []string{"encryption"}},
		{"TracerRemote", "packets are delayed, lost or not answered beyond this node", []string{"remote-delay", "remote-loss", "no-answer"}},
		{"TracerMisconfiguration", "a device is not set up as it should be", []string{"misconfiguration"}},
		{"TracerUnknown", "packets are lost for a reason that is not known", []string{"unknown"}},
	}
}

type ruleFile struct {
	Groups []ruleGroup `yaml:"groups"`
}

type ruleGroup struct {
	Name     string `yaml:"name"`
	Interval string `yaml:"interval,omitempty"`
	Rules    []rule `yaml:"rules"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         string            `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

// Agents are told apart by instance and, where the scrape configuration gives them, node (the chart's PodMonitor does) and cluster.
const (
	byAgent = "cluster, node, instance"
	where   = "{{ with $labels.node }}{{ . }}{{ else }}{{ $labels.instance }}{{ end }}"
)

func rules() ruleFile {
	findings := ruleGroup{Name: "tracer-findings"}
	for _, f := range families() {
		findings.Rules = append(findings.Rules, rule{
			Alert: f.alert,
			// Over two minutes, or a finding that is warning and critical by turns would begin anew each time, and never alert.
			Expr: fmt.Sprintf(`max by (%s, cause, severity, stage, device, direction) (max_over_time(tracer_finding{severity=~"critical|warning", cause=~"%s"}[2m])) > 0`,
				byAgent, strings.Join(f.causes, "|")),
			For: "3m",
			Annotations: map[string]string{
				"summary": "{{ $labels.cause }} on " + where + ": " + f.summary,
				"description": "tracer has found {{ $labels.cause }} on " + where + "{{ with $labels.device }}, at the device {{ . }}{{ end }}" +
					"{{ with $labels.stage }}, stage {{ . }}{{ end }}{{ with $labels.direction }}, direction {{ . }}{{ end }}. " +
					"There, `tracer diagnose` says more, and `tracer incidents show last` what led to it.",
				"runbook_url": runbooks + "/{{ $labels.cause }}.md",
			},
		})
	}
	agents := ruleGroup{Name: "tracer-agents", Rules: []rule{
		{
			Alert: "TracerBlind", For: "10m", Labels: map[string]string{"severity": "warning"},
			Expr: fmt.Sprintf(`min by (%s, device, direction) (tracer_coverage_ratio) < 0.5`, byAgent),
			Annotations: map[string]string{
				"summary":     "tracer sees {{ $value | humanizePercentage }} of the packets at {{ $labels.device }}, {{ $labels.direction }}, on " + where,
				"description": "What it does not see it does not judge: no finding there does not mean that all is well. `tracer check` on the node says why.",
				"runbook_url": runbooks + "/README.md",
			},
		},
		{
			Alert: "TracerHookMissing", For: "10m", Labels: map[string]string{"severity": "warning"},
			Expr: fmt.Sprintf(`min by (%s, hook, device) (tracer_hook_up) == 0`, byAgent),
			Annotations: map[string]string{
				"summary":     "the hook {{ $labels.hook }} {{ $labels.device }} is not up on " + where,
				"description": "It is not attached, another program runs before it, or no packet reaches it. `tracer check` on the node says which.",
				"runbook_url": runbooks + "/README.md",
			},
		},
		{
			Alert: "TracerRecordsLost", For: "10m", Labels: map[string]string{"severity": "warning"},
			Expr: fmt.Sprintf(`sum by (%[1]s) (rate(tracer_records_lost_total[5m])) / sum by (%[1]s) (rate(tracer_journeys_total{outcome="finished"}[5m])) > 0.05`, byAgent),
			Annotations: map[string]string{
				"summary":     "the agent on " + where + " misses {{ $value | humanizePercentage }} of its records",
				"description": "It gets too little CPU time: findings are less sure. See its CPU limit, and --max-records and --max-cpu.",
				"runbook_url": runbooks + "/README.md",
			},
		},
		{
			Alert: "TracerDown", For: "10m", Labels: map[string]string{"severity": "warning"},
			Expr: fmt.Sprintf(`max by (%s) (up == 0 and on (cluster, job, instance) max_over_time(tracer_build_info[1d])) == 0`, byAgent),
			Annotations: map[string]string{
				"summary":     "the agent on " + where + " is not scraped any more",
				"description": "It does not run, or Prometheus does not reach it: findings of that node are not known. See its pod, and the node.",
				"runbook_url": runbooks + "/README.md",
			},
		},
		{
			Alert: "TracerAbsent", For: "10m", Labels: map[string]string{"severity": "warning"}, Expr: `absent(tracer_build_info)`,
			Annotations: map[string]string{
				"summary":     "no agent of tracer is scraped",
				"description": "None runs, or Prometheus does not find or reach them: see the DaemonSet, the PodMonitor and the network policy.",
				"runbook_url": runbooks + "/README.md",
			},
		},
	}}
	return ruleFile{append(recorded(), findings, agents)}
}

// What dashboards ask of pairs: those alone that have a name. (Pairs beyond --max-series share _other.)
const (
	pairLabels = "src_namespace, src_workload, dst_namespace, dst_workload"
	named      = `{src_workload!="_other"}`
	mostPairs  = 100
)

// recorded is what dashboards of thousands of nodes ask for: sums over nodes, and over pairs. Groups are evaluated beside each other.
func recorded() []ruleGroup {
	group := func(name string, rules ...rule) ruleGroup {
		return ruleGroup{Name: name, Interval: "1m", Rules: rules}
	}
	return []ruleGroup{
		group("tracer-cluster",
			rule{Record: "tracer:agents:count", Expr: `count by (version) (tracer_build_info)`},
			rule{Record: "tracer:findings:count", Expr: fmt.Sprintf(`count by (cause, severity) (max by (%s, cause, severity) (tracer_finding))`, byAgent)},
			rule{Record: "tracer:drops:rate5m", Expr: `sum by (reason, stage) (rate(tracer_drops_total[5m]))`},
			rule{Record: "tracer:coverage:min", Expr: `min by (device, direction) (tracer_coverage_ratio)`},
			rule{Record: "tracer:stage_delay_seconds:p99", Expr: quantile("0.99", "tracer_device_stage_delay_seconds", "stage, device, direction", "")},
		),
		group("tracer-nodes",
			rule{Record: "node:tracer_drops:rate5m", Expr: fmt.Sprintf(`sum by (%s) (rate(tracer_drops_total[5m]))`, byAgent)},
			rule{Record: "node:tracer_stage_delay_seconds:p99", Expr: quantile("0.99", "tracer_device_stage_delay_seconds", byAgent+", stage, device, direction", "")},
		),
		group("tracer-pairs",
			rule{Record: "pair:tracer_path_delay_seconds:p99", Expr: fmt.Sprintf(`topk(%d, %s)`, mostPairs, quantile("0.99", "tracer_path_delay_seconds", pairLabels, named))},
			rule{Record: "pair:tracer_drops:rate5m", Expr: fmt.Sprintf(`topk(%d, sum by (%s) (rate(tracer_pair_drops_total%s[5m])) > 0)`, mostPairs, pairLabels, named)},
		),
	}
}

// quantile is one of a histogram, native or classic: what Prometheus scrapes of it depends on its configuration. Of a native histogram
// it may have the bucket +Inf alone, of which there is no quantile: NaN, which is no value that is >= 0.
func quantile(q, metric, by, selector string) string {
	return fmt.Sprintf(`histogram_quantile(%[1]s, sum by (%[3]s) (rate(%[2]s%[4]s[5m]))) or histogram_quantile(%[1]s, sum by (%[3]s, le) (rate(%[2]s_bucket%[4]s[5m]))) >= 0`,
		q, metric, by, selector)
}

// rulesFile is the rules as Prometheus and a PrometheusRule's spec have them.
func rulesFile() ([]byte, error) {
	var out bytes.Buffer
	out.WriteString("# Made by tools/mixin (\"make mixin\"). RUNBOOKS stands for the address of docs/causes.\n")
	e := yaml.NewEncoder(&out)
	e.SetIndent(2)
	if err := e.Encode(rules()); err != nil {
		return nil, fmt.Errorf("write rules: %w", err)
	}
	return out.Bytes(), nil
}
