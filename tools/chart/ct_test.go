package chart

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
)

// ctChart is what helm/chart-testing's chart_schema.yaml lets Chart.yaml have. It demands those that are compared below.
type ctChart struct {
	Name, Home, Version, Description, Icon, Engine, Condition, Tags, Type string
	APIVersion                                                            string `yaml:"apiVersion"`
	AppVersion                                                            string `yaml:"appVersion"`
	KubeVersion                                                           string `yaml:"kubeVersion"`
	Deprecated                                                            bool
	Keywords, Sources                                                     []string
	Maintainers                                                           []struct{ Name, Email, URL string }
	Annotations                                                           map[string]string
}

// TestCT: the chart keeps the rules of helm/chart-testing (ct lint), without its tools: its schema of Chart.yaml, its configuration of
// yamllint as far as that is about text, and helm lint with each values file in ci/.
func TestCT(t *testing.T) {
	data, err := os.ReadFile(source + "/Chart.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var c ctChart
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	decoder.KnownFields(true)
	if err := decoder.Decode(&c); err != nil {
		t.Error(err)
	}
	for _, text := range []string{c.Name, c.Home, c.Version, c.APIVersion, c.Description} {
		if text == "" {
			t.Errorf("Chart.yaml lacks what ct demands: %+v", c)
		}
	}
	if len(c.Maintainers) == 0 || c.Maintainers[0].Name == "" || filepath.Base(source) != c.Name {
		t.Errorf("no maintainer, or another name than its folder's: %+v", c)
	}

	values, err := filepath.Glob(source + "/ci/*-values.yaml")
	if err != nil || len(values) < 2 {
		t.Fatalf("there are %q: %v", values, err)
	}
	for _, name := range append(values, source+"/Chart.yaml", source+"/values.yaml", source+"/values-hardened.yaml") {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		lintText(t, name, string(data))
		var v map[string]any
		if err := yaml.Unmarshal(data, &v); err != nil { // keys that are there twice are an error
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(name, "/ci/") {
			for _, m := range lint.RunAll(source, v, "tracer").Messages {
				t.Errorf("%s: %v", name, m)
			}
			if _, err := Manifest(load(t), v); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	if a, b := withoutComments(t, source+"/ci/hardened-values.yaml"), withoutComments(t, source+"/values-hardened.yaml"); a != b {
		t.Errorf("ci/hardened-values.yaml is not values-hardened.yaml:\n%s\n%s", a, b)
	}
}

var badText = map[string]*regexp.Regexp{
	"spaces at the end of a line":      regexp.MustCompile(`(?m)[ \t]+$`),
	"a carriage return":                regexp.MustCompile(`\r`),
	"a tab":                            regexp.MustCompile(`\t`),
	"more than two empty lines":        regexp.MustCompile(`\n{4}`),
	"spaces inside of braces":          regexp.MustCompile(`(?m)^[^#"]*(\{ |\[ |[^ ] +\}|[^ ] +\])`),
	"a comment without a space":        regexp.MustCompile(`(?m)(^|\s)#[^ \n]`),
	"more than one space after a dash": regexp.MustCompile(`(?m)^ *-  `),
}

func lintText(t *testing.T, name, text string) {
	t.Helper()
	for what, bad := range badText {
		if at := bad.FindString(text); at != "" {
			t.Errorf("%s has %s: %q", name, what, at)
		}
	}
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") {
		t.Errorf("%s does not end with one line's end", name)
	}
}

func withoutComments(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := yaml.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	out, err := yaml.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}
