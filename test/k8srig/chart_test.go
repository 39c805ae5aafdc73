package k8srig

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const chartDir = "../../deploy/helm/tracer"

// template has helm render the chart.
func template(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return output(exec.Command(tools(t).Kubernetes, append([]string{"helm", "template", "tracer", chartDir, "--namespace", "tracer",
		"--kube-version", kubernetesVersion}, args...)...))
}

// render is what helm makes of the chart.
func render(t *testing.T, args ...string) string {
	t.Helper()
	out, err := template(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestWrongValues: helm refuses what the agent would refuse, or what the chart does not know.
func TestWrongValues(t *testing.T) {
	for value, want := range map[string]string{
		"identityScope=everything": "'/identityScope': value must be one of 'node', 'cluster'",
		"identityscope=cluster":    "additional properties 'identityscope' not allowed",
		"metricsPort=70000":        "'/metricsPort'",
		"extraArgs[0]=5":           "'/extraArgs/0'",
		"podMonitor.scheme=ftp":    "'/podMonitor/scheme'",
		"image.digest=latest":      "'/image/digest': 'latest' does not match pattern",
		"networkPolicy.from=here":  "'/networkPolicy/from': got string, want array",
		"enabled=perhaps":          "'/enabled': got string, want boolean",
		"goMemoryLimit=180MB":      "'/goMemoryLimit': '180MB' does not match pattern",
		"image.tag=20261125":       "'/image/tag': got number, want string",
		"apiServer.port=0":         "'/apiServer/port': minimum: got 0, want 1",
		"apiServer.port=https":     "'/apiServer/port': 'https' does not match pattern",
	} {
		if _, err := template(t, "--set", value); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", value, err)
		}
	}
}

// TestRightValues: helm takes what the agent takes, be it quoted or not, and hands it on as it is.
func TestRightValues(t *testing.T) {
	for values, want := range map[string]string{
		`{"enabled": true}`:                             `value: "180MiB"`, // of a chart that has this one among its dependencies
		`{"goMemoryLimit": "off"}`:                      `value: "off"`,
		`{"goMemoryLimit": "200000000"}`:                `value: "200000000"`,
		`{"goMemoryLimit": ""}`:                         `value: ""`,
		`{"image": {"tag": "20261125"}}`:                `image: "docker.io/library/tracer:20261125"`,
		`{"apiServer": {"host": "api", "port": 443}}`:   `value: "443"`,
		`{"apiServer": {"host": "api", "port": "443"}}`: `value: "443"`,
		`{"events": {"enabled": true}}`:                 `- --events`,
	} {
		file := filepath.Join(t.TempDir(), "values.json")
		if err := os.WriteFile(file, []byte(values), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := template(t, "-f", file); err != nil || !strings.Contains(got, want) {
			t.Errorf("%s: %v", values, err)
		}
	}
}

// podMonitor stands for the kind that the Prometheus operator brings: its fields as far as the chart has them, so that
// the API server refuses what the real one would.
const podMonitor = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: podmonitors.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: PodMonitor, plural: podmonitors, singular: podmonitor, listKind: PodMonitorList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [selector, podMetricsEndpoints]
              properties:
                selector: {type: object, properties: {matchLabels: {type: object, additionalProperties: {type: string}}}}
                podMetricsEndpoints:
                  type: array
                  items:
                    type: object
                    properties:
                      port: {type: string}
                      interval: {type: string, pattern: '^([0-9]+(ms|s|m|h))+$'}
                      scheme: {type: string, enum: [http, https]}
                      tlsConfig: {type: object, properties: {insecureSkipVerify: {type: boolean}, serverName: {type: string}}}
                      basicAuth:
                        type: object
                        properties:
                          username: &key {type: object, required: [key], properties: {name: {type: string}, key: {type: string}}}
                          password: *key
                      relabelings:
                        type: array
                        items:
                          type: object
                          properties: {sourceLabels: {type: array, items: {type: string}}, targetLabel: {type: string}}
`

// prometheusRule stands for the other kind of that operator.
const prometheusRule = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: prometheusrules.monitoring.coreos.com}
spec:
  group: monitoring.coreos.com
  scope: Namespaced
  names: {kind: PrometheusRule, plural: prometheusrules, singular: prometheusrule, listKind: PrometheusRuleList}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              properties:
                groups:
                  type: array
                  items:
                    type: object
                    required: [name]
                    properties:
                      name: {type: string}
                      interval: {type: string, pattern: '^([0-9]+(ms|s|m|h))+$'}
                      rules:
                        type: array
                        items:
                          type: object
                          required: [expr]
                          properties:
                            alert: {type: string}
                            record: {type: string}
                            expr: {x-kubernetes-int-or-string: true}
                            for: {type: string, pattern: '^([0-9]+(ms|s|m|h))+$'}
                            labels: {type: object, additionalProperties: {type: string}}
                            annotations: {type: object, additionalProperties: {type: string}}
`

// variants asks the API server whether it would take what the chart makes, with every option.
func (s *apiSuite) variants(t *testing.T) {
	if _, err := s.cluster.KubectlInput(podMonitor+"---"+prometheusRule, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.cluster.Kubectl("wait", "--for=condition=Established", "crd/podmonitors.monitoring.coreos.com",
		"crd/prometheusrules.monitoring.coreos.com", "--timeout=30s"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"elsewhere", "viewers"} {
		if _, err := s.cluster.Kubectl("create", "namespace", name); err != nil {
			t.Fatal(err)
		}
	}
	for name, args := range map[string][]string{
		"defaults":  nil,
		"hardened":  {"-f", chartDir + "/values-hardened.yaml"},
		"cluster":   {"--set", "identityScope=cluster"},
		"ct":        {"-f", chartDir + "/ci/options-values.yaml"},
		"names":     {"--set-json", `cidrNames={"10.20.0.0/16":"databases","2001:db8::/32":"office"}`},
		"server":    {"--set", "apiServer.host=10.0.0.1,apiServer.port=443"},
		"policy":    {"--set-json", `networkPolicy={"enabled":true,"from":[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]}`},
		"rules":     {"--set", "rules.enabled=true,rules.labels.team=net"},
		"runbooks":  {"--set", "rules.enabled=true,rules.runbookURL=https://git.example/causes"},
		"events":    {"--set", "events.enabled=true"},
		"viewer":    {"--set-json", `viewer={"enabled":true,"namespace":"viewers","subjects":[{"kind":"Group","name":"developers","apiGroup":"rbac.authorization.k8s.io"}]}`},
		"digest":    {"--set", "image.digest=sha256:" + strings.Repeat("ab", 32)},
		"TLS":       {"--set", "webConfigSecret=tracer-web"},
		"monitor":   {"--set", "podMonitor.enabled=true,podMonitor.labels.team=net,webConfigSecret=w,podMonitor.tlsConfig.insecureSkipVerify=true"},
		"password":  {"--set", "podMonitor.enabled=true,webConfigSecret=w,podMonitor.scheme=http,podMonitor.basicAuth.username.name=s,podMonitor.basicAuth.username.key=u"},
		"scheduled": {"--set-json", `affinity={"nodeAffinity":{}}`, "--set", "podLabels.a=b,podAnnotations.c=d,extraArgs={--max-series=10,--classic-histograms},imagePullSecrets[0].name=x"},
	} {
		// In a namespace that exists: a dry run makes none.
		manifest := render(t, append(args, "--namespace", "elsewhere", "--set", "namespace.create=false")...)
		if _, err := s.cluster.KubectlInput(manifest, "apply", "--dry-run=server", "--validate=strict", "-f", "-"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "hardened" && strings.Contains(manifest, "privileged: true") {
			t.Error("the hardened agent is privileged")
		}
	}
	if _, err := s.cluster.KubectlInput(render(t), "apply", "--dry-run=client", "-f", "-"); err != nil {
		t.Error(err)
	}
}

// installed has helm install the chart and change it. The namespace is helm's, and stays.
func (s *apiSuite) installed(t *testing.T) {
	helm := func(args ...string) string {
		t.Helper()
		args = append([]string{"helm", "--kubeconfig", s.cluster.Kubeconfig(Admin), "--namespace", "helmed"}, args...)
		cmd := exec.Command(tools(t).Kubernetes, args...)
		dir := t.TempDir()
		cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+dir, "HELM_CONFIG_HOME="+dir, "HELM_DATA_HOME="+dir)
		out, err := output(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if notes := helm("install", "helmed", chartDir, "--create-namespace"); !strings.Contains(notes, "kubectl label namespace helmed") {
		t.Errorf("the notes do not say how to allow host network:\n%s", notes)
	}
	for _, change := range []string{"podLabels.a=b", "podLabels.a=c"} {
		helm("upgrade", "helmed", chartDir, "--set", change)
		ending, err := s.cluster.Kubectl("get", "namespace", "helmed", "-o", "jsonpath={.metadata.deletionTimestamp}")
		if err != nil || ending != "" {
			t.Fatalf("the namespace goes away with an upgrade at %q: %v", ending, err)
		}
	}
	label, err := s.cluster.Kubectl("-n", "helmed", "get", "daemonset", "helmed", "-o", "jsonpath={.spec.template.metadata.labels.a}")
	if err != nil || label != "c" {
		t.Errorf("the DaemonSet's pods are labelled %q: %v", label, err)
	}
	helm("uninstall", "helmed")
}
