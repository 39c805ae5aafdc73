package chart

import (
	"encoding/base64"
	"flag"
	"os"
	"strings"
	"testing"

	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

const source = "../../deploy/helm/tracer"

var update = flag.Bool("update", false, "write what is generated from the chart instead of comparing it")

func load(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.LoadDir(source)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestLint: helm lint has nothing to say, whatever options are set.
func TestLint(t *testing.T) {
	for name, values := range variants() {
		for _, m := range lint.RunAll(source, values, "tracer").Messages {
			t.Errorf("%s: %v", name, m)
		}
	}
}

// variants are values that make each of the chart's objects and fields.
func variants() map[string]map[string]any {
	return map[string]map[string]any{
		"defaults": nil,
		"all": {
			"cidrNames": map[string]any{"10.20.0.0/16": "databases"}, "webConfigSecret": "tracer-web", "identityScope": "cluster",
			"podMonitor":    map[string]any{"enabled": true, "tlsConfig": map[string]any{"insecureSkipVerify": true}},
			"rules":         map[string]any{"enabled": true, "labels": map[string]any{"release": "prometheus"}, "runbookURL": "https://git.example/causes/"},
			"dashboards":    map[string]any{"enabled": true, "annotations": map[string]any{"grafana_folder": "tracer"}},
			"networkPolicy": map[string]any{"enabled": true, "from": []any{map[string]any{"namespaceSelector": map[string]any{}}}},
			"apiServer":     map[string]any{"host": "10.0.0.1", "port": 443},
		},
	}
}

// TestManifest: who has no helm applies deploy/tracer.yaml, which is nothing but the chart.
func TestManifest(t *testing.T) {
	got, err := Manifest(load(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../../deploy/tracer.yaml", got, "make manifest")
}

// TestImage: a digest counts until somebody sets a tag.
func TestImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for want, image := range map[string]map[string]any{
		`image: "docker.io/library/tracer:dev"`:                {},
		`image: "docker.io/library/tracer:v1"`:                 {"tag": "v1", "digest": digest},
		`image: "docker.io/library/tracer:dev@` + digest + `"`: {"digest": digest},
		`image: "mirror/tracer:dev@` + digest + `"`:            {"digest": digest, "repository": "mirror/tracer"},
	} {
		got, err := Manifest(load(t), map[string]any{"image": image})
		if err != nil || !strings.Contains(got, want) {
			t.Errorf("%v makes not %s: %v", image, want, err)
		}
	}
	if _, err := Manifest(load(t), map[string]any{"image": map[string]any{"digest": "latest"}}); err == nil {
		t.Error("a digest that is none is taken")
	}
}

// TestReadme: the README has each value, with its default and its comment.
func TestReadme(t *testing.T) {
	got, err := Readme(load(t))
	if err != nil {
		t.Fatal(err)
	}
	golden(t, source+"/README.md", got, "make manifest")
	for _, want := range []string{
		"| `image.tag` | `\"\"` | the chart's appVersion; quote a number |",
		"| `resources.requests.cpu` | `50m` |",
		"| `podMonitor` | | For the Prometheus operator. |",
		"| `tolerations` | `[{operator: Exists}]` |",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the README has no row %s", want)
		}
	}
}

// TestIcon: the icon that Chart.yaml has is the file that people edit.
func TestIcon(t *testing.T) {
	svg, err := os.ReadFile(source + "/icon.svg")
	if err != nil {
		t.Fatal(err)
	}
	if want := "data:image/svg+xml;base64," + base64.StdEncoding.EncodeToString(svg); load(t).Metadata.Icon != want {
		t.Errorf("Chart.yaml has not the icon of icon.svg, which is %s", want)
	}
}

// TestNextCommand: the notes have a command that can be pasted as it is.
func TestNextCommand(t *testing.T) {
	files, err := Render(load(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	if notes := files["tracer/templates/NOTES.txt"]; !strings.Contains(notes, "kubectl -n tracer exec -it ds/tracer -- /tracer diagnose\n") {
		t.Errorf("the notes are\n%s", notes)
	}
}

// golden compares a file with what it is generated to.
func golden(t *testing.T, path, got, command string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if committed, err := os.ReadFile(path); err != nil || string(committed) != got {
		t.Errorf("%s is not what the chart makes it: run %s (%v)", path, command, err)
	}
}

// TestMixin: rules and dashboards come into the cluster as they are in the chart, with the pages' address where one is given.
func TestMixin(t *testing.T) {
	c := load(t)
	values := variants()["all"]
	rendered, err := Render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	var all strings.Builder
	for _, text := range rendered {
		all.WriteString(text)
	}
	for _, want := range []string{
		"kind: PrometheusRule", "alert: TracerQueue", "https://git.example/causes/{{ $labels.cause }}.md", "release: prometheus",
		"tracer-node.json: |", "name: tracer-pair-dashboard", `grafana_dashboard: "1"`, "grafana_folder: tracer",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("%q is not there", want)
		}
	}
	values["rules"].(map[string]any)["runbookURL"] = ""
	if rendered, err = Render(c, values); err != nil {
		t.Fatal(err)
	}
	for name, text := range rendered {
		if strings.Contains(text, "RUNBOOKS/") || strings.Contains(text, "runbook_url") {
			t.Errorf("%s has a runbook without an address", name)
		}
	}
}
