package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/agents/agentstest"
)

// TestEphemeral diagnoses a cluster in which nothing is installed, and leaves nothing there: also where the command fails.
func TestEphemeral(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"diagnose --duration 1s":              "no fault on 2 of 2 nodes",
		"diagnose --duration 1s --nodes a":    "no fault on 1 of 1 nodes",
		"diagnose --duration 1s pod/a 1.2.3.": "no workload, pod or Service 1.2.3.",
		"nodes":                               "v1",
	} {
		t.Run(line, func(t *testing.T) {
			t.Parallel()
			s := agentstest.New(t)
			s.Objects = shop("a", "b")
			list := &corev1.NodeList{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "NodeList"}}
			for _, name := range []string{"a", "b"} {
				list.Items = append(list.Items, corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}})
			}
			s.Objects["/api/v1/nodes"] = list
			s.Connect = func(_ string, c net.Conn) {
				agentstest.Serve(c, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					fmt.Fprint(w, `{"version":"v1","verdict":"healthy","summary":"fine"}`)
				}))
			}
			var out bytes.Buffer
			root, flags := newRoot()
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetArgs(append(strings.Fields(line), "--ephemeral", "--image", "tracer:v1", "--kubeconfig", kubeconfigOf(t, s)))
			err := root.ExecuteContext(t.Context())
			if text := fmt.Sprint(&out, err); !strings.Contains(text, want) {
				t.Errorf("%s, want %s", text, want)
			}
			if err := flags.close(); err != nil || len(s.Jobs) != 0 {
				t.Errorf("%d Jobs are left, %v", len(s.Jobs), err)
			}
		})
	}
}
