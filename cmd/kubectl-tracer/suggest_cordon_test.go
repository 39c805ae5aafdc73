package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/netdev"
)

// TestSuggestCordon asks twenty nodes of which one is at fault: while one more is cordoned there is room for it, with two there is not.
func TestSuggestCordon(t *testing.T) {
	t.Parallel()
	const n = 20
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("node-%02d", i))
	}
	judged := time.Now()
	finding := diagnose.Finding{
		Kind: diagnose.KindDelay, Cause: diagnose.QdiscDelay, Severity: diagnose.Critical, Stage: "queue", Device: "eth0", Direction: "out",
		Text: "eth0 egress queue delays packets by 501 ms", Pairs: []diagnose.Pair{},
	}
	for cordoned, want := range map[int]string{
		0: "\nkubectl cordon node-07 # qdisc-delay for 5m0s: eth0 egress queue delays packets by 501 ms\n",
		1: "\nkubectl cordon node-07 # ",
		2: "\ncordon none: node-00 and node-01 are out of service already, and 2 of 20 may be\nnot node-07: qdisc-delay",
	} {
		t.Run(fmt.Sprint(cordoned, " cordoned"), func(t *testing.T) {
			t.Parallel()
			s := agentstest.New(t, names...)
			nodes := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}}
			for i, name := range names {
				nodes.Items = append(nodes.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{Unschedulable: i < cordoned}})
			}
			s.Objects = shop()
			s.Objects["/api/v1/nodes"] = nodes
			s.Connect = func(node string, c net.Conn) {
				agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					report, active := diagnose.Report{Node: node, Verdict: diagnose.Healthy, WindowSeconds: 15}, api.ActiveFindings{Judged: judged}
					if node == "node-07" {
						report.Verdict, report.Findings = diagnose.Fault, []diagnose.Finding{finding}
						active.Findings = []api.ActiveFinding{{
							ActiveFinding: diagnose.ActiveFinding{Finding: finding, Since: judged.Add(-time.Hour), CriticalSince: judged.Add(-5 * time.Minute)},
							Role:          netdev.RoleUplink,
						}}
					}
					var answer any = api.Status{Node: node, Version: "test"}
					switch r.URL.Path {
					case "/v1/diagnosis":
						answer = report
					case "/v1/findings":
						answer = active
					}
					_ = json.NewEncoder(w).Encode(answer)
				}))
			}
			c := clusterOf(t, s.Config())
			r, err := diagnoseCluster(t.Context(), c, clusterQuery{window: 15 * time.Second, limit: time.Minute, suggestCordon: true}, io.Discard)
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := r.WriteText(&text, false); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), want) {
				t.Errorf("%s\nwant %q", text.String(), want)
			}
			r, err = diagnoseCluster(t.Context(), c, clusterQuery{window: 15 * time.Second, limit: time.Minute}, io.Discard)
			if err != nil || r.Cordon != nil || r.Verdict != diagnose.Fault {
				t.Errorf("without being asked: %+v, %v", r.Cordon, err)
			}
		})
	}
}
