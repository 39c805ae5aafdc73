package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"
	"time"

	"go.yaml.in/yaml/v3"

	"tracer/internal/cluster"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/netdev"
)

// fakeDirEnv has this program stand for kubectl, with what it answers in that directory.
const fakeDirEnv = "TRACER_TEST_KUBECTL"

// fakeNode is a node as a template sees it.
type fakeNode map[string]any

func newFakeNode(name, degraded string, marked bool, taints ...string) fakeNode {
	keys := []any{}
	for _, key := range taints {
		keys = append(keys, map[string]any{"key": key})
	}
	return fakeNode{
		"metadata": map[string]any{"name": name}, "marked": marked, "spec": map[string]any{"taints": keys},
		"status": map[string]any{"conditions": []any{
			map[string]any{"type": "Ready", "status": "True"}, map[string]any{"type": "OverlayDegraded", "status": degraded},
		}},
	}
}

// fakeKubectl answers as kubectl does, and notes which labels it is to set.
func fakeKubectl(dir string, args []string) int {
	code, err := func() (int, error) {
		switch args[0] {
		case "tracer":
			report, err := os.ReadFile(filepath.Join(dir, "report"))
			if err != nil {
				return 1, err
			}
			fmt.Print(string(report))
			code, err := os.ReadFile(filepath.Join(dir, "code"))
			if err != nil {
				return 1, err
			}
			return strconv.Atoi(string(code))
		case "label":
			notes, err := os.OpenFile(filepath.Join(dir, "labels"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
			if err != nil {
				return 1, err
			}
			defer notes.Close()
			_, err = fmt.Fprintln(notes, strings.Join(args[2:], " "))
			return 0, err
		}
		data, err := os.ReadFile(filepath.Join(dir, "nodes"))
		if err != nil {
			return 1, err
		}
		var nodes []fakeNode
		if err := json.Unmarshal(data, &nodes); err != nil {
			return 1, err
		}
		if slices.Contains(args, "-l") {
			nodes = slices.DeleteFunc(nodes, func(n fakeNode) bool { return n["marked"] != true })
		}
		text := strings.TrimPrefix(args[len(args)-1], "go-template=")
		t, err := template.New("").Parse(text)
		if err != nil {
			return 1, err
		}
		return 0, t.Execute(os.Stdout, map[string]any{"items": nodes})
	}()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return code
}

// TestMarkNodes runs the example that marks nodes, with a kubectl that only notes what it is to do.
func TestMarkNodes(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		suggested []string
		special   []fakeNode
		others    int
		labels    []string
		code      string // of the diagnosis; "" for 2
		fails     bool
	}{
		"healthy by now":   {suggested: []string{"node-a"}, others: 19, labels: []string{"node-a tracer/at-fault=true"}, code: "0"},
		"not all was seen": {suggested: []string{"node-a"}, others: 19, labels: []string{"node-a tracer/at-fault=true"}, code: "3"},
		"no answer":        {suggested: []string{"node-a"}, others: 19, code: "1", fails: true},
		"no program":       {suggested: []string{"node-a"}, others: 19, code: "127", fails: true},
		"one":              {suggested: []string{"node-a"}, others: 19, labels: []string{"node-a tracer/at-fault=true"}},
		"none":             {others: 20},
		"no room":          {suggested: []string{"node-a"}, others: 5},
		"marked before":    {suggested: []string{"node-a"}, special: []fakeNode{newFakeNode("node-a", "True", true)}, others: 19},
		"room for one more": {
			suggested: []string{"node-a", "node-b", "node-c"}, special: []fakeNode{newFakeNode("node-a", "True", true, "readiness.k8s.io/overlay-degraded")},
			others: 20, labels: []string{"node-b tracer/at-fault=true"},
		},
		"well again": {
			special: []fakeNode{
				newFakeNode("node-a", "False", true, "another"), newFakeNode("node-b", "False", true, "readiness.k8s.io/overlay-degraded"),
				newFakeNode("node-c", "Unknown", true),
			},
			others: 20, labels: []string{"node-a tracer/at-fault-"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			nodes := test.special
			for i := range test.others {
				nodes = append(nodes, newFakeNode(fmt.Sprintf("other-%d", i), "False", false))
			}
			data, err := json.Marshal(nodes)
			if err != nil {
				t.Fatal(err)
			}
			r := cluster.Report{Verdict: diagnose.Fault, Summary: "a fault", Cordon: &cluster.Cordon{}}
			for _, n := range test.suggested {
				r.Cordon.Nodes = append(r.Cordon.Nodes, cluster.Suspect{Node: n, Why: "qdisc-delay for 5m0s: eth0 holds packets"})
			}
			if len(test.suggested) == 0 {
				r.Cordon.Why = "no node is itself at fault for long enough"
			}
			var report bytes.Buffer
			if err := r.WriteText(&report, false); err != nil {
				t.Fatal(err)
			}
			for file, content := range map[string][]byte{"nodes": data, "report": report.Bytes(), "code": []byte(cmp.Or(test.code, "2"))} {
				if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(self, filepath.Join(dir, "kubectl")); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command("../../deploy/examples/mark-nodes-at-fault")
			cmd.Env = append(os.Environ(), fakeDirEnv+"="+dir, "PATH="+dir+":"+os.Getenv("PATH"))
			out, err := cmd.CombinedOutput()
			if (err != nil) != test.fails {
				t.Fatalf("%v: %s", err, out)
			}
			labels, _ := os.ReadFile(filepath.Join(dir, "labels"))
			if got := strings.Fields(strings.ReplaceAll(string(labels), " ", "+")); strings.Join(got, ",") != strings.ReplaceAll(strings.Join(test.labels, ","), " ", "+") {
				t.Errorf("labels %q, want %q; %s", got, test.labels, out)
			}
			if (len(test.suggested) == 0) != strings.Contains(string(out), "cordon none: ") {
				t.Errorf("it says %s", out)
			}
		})
	}
}

// TestReadinessRule compares the example of a taint controller with the condition and the label that it goes by.
func TestReadinessRule(t *testing.T) {
	t.Parallel()
	data, err := os.ReadFile("../../deploy/examples/node-readiness-rule.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var rule struct {
		APIVersion string `yaml:"apiVersion"`
		Kind       string
		Metadata   struct{ Name string }
		Spec       struct {
			NodeSelector struct {
				MatchLabels map[string]string `yaml:"matchLabels"`
			} `yaml:"nodeSelector"`
			Conditions []struct {
				Type           string
				RequiredStatus string `yaml:"requiredStatus"`
			}
			Taint           struct{ Key, Effect string }
			EnforcementMode string `yaml:"enforcementMode"`
		}
	}
	d := yaml.NewDecoder(bytes.NewReader(data))
	d.KnownFields(true)
	if err := d.Decode(&rule); err != nil {
		t.Fatal(err)
	}
	plugin, err := os.ReadFile("../../deploy/node-problem-detector.json")
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile("../../deploy/examples/mark-nodes-at-fault")
	if err != nil {
		t.Fatal(err)
	}
	s := &rule.Spec
	if len(s.Conditions) != 1 || s.Conditions[0].RequiredStatus != "False" || !bytes.Contains(plugin, []byte(`"type": "`+s.Conditions[0].Type+`"`)) {
		t.Errorf("the rule goes by %+v", s.Conditions)
	}
	if want := fmt.Sprintf("label=tracer/at-fault condition=%s taint=%s\n", s.Conditions[0].Type, s.Taint.Key); !bytes.Contains(script, []byte(want)) ||
		s.NodeSelector.MatchLabels["tracer/at-fault"] != "true" || len(s.NodeSelector.MatchLabels) != 1 {
		t.Errorf("the rule's label and taint are not the script's: %+v", s)
	}
	if s.Taint.Effect != "NoSchedule" || s.EnforcementMode != "continuous" {
		t.Errorf("%+v", s)
	}
}

// TestHeldOf measures by the agent's clock.
func TestHeldOf(t *testing.T) {
	t.Parallel()
	judged := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	active := api.ActiveFindings{Judged: judged, Findings: []api.ActiveFinding{
		{ActiveFinding: diagnose.ActiveFinding{Finding: diagnose.Finding{Cause: diagnose.NIC, Device: "eth0"}, CriticalSince: judged.Add(-4 * time.Minute)}, Role: netdev.RoleUplink},
		{ActiveFinding: diagnose.ActiveFinding{Finding: diagnose.Finding{Cause: diagnose.QdiscDrop, Device: "eth1"}}},
	}}
	held := heldOf(&active)
	if len(held) != 1 || held[0].Finding.Cause != diagnose.NIC || held[0].Role != netdev.RoleUplink || held[0].Critical != 4*time.Minute {
		t.Errorf("%+v", held)
	}
}
