package chart

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
)

// Readme is the chart's README.md: its values come from values.yaml, whose comments describe them.
func Readme(c *chart.Chart) (string, error) {
	var values yaml.Node
	for _, file := range c.Raw {
		if file.Name == chartutil.ValuesfileName {
			if err := yaml.Unmarshal(file.Data, &values); err != nil {
				return "", fmt.Errorf("read the chart's values: %w", err)
			}
		}
	}
	if len(values.Content) != 1 {
		return "", fmt.Errorf("the chart has no %s", chartutil.ValuesfileName)
	}
	var out strings.Builder
	fmt.Fprintf(&out, readmeBegin, c.Metadata.Description, c.Metadata.KubeVersion)
	rows(&out, "", values.Content[0])
	return out.String(), nil
}

const readmeBegin = `<!-- Made from values.yaml by "make manifest". -->
# tracer

%s. It runs as a DaemonSet on the host's network and needs neither the overlay nor
the cluster's DNS, since they may be what is broken. Kubernetes %s.

` + "```" + `
helm install tracer oci://REGISTRY/charts/tracer --version VERSION --namespace tracer --create-namespace --wait
kubectl -n tracer exec -it ds/tracer -- /tracer diagnose
` + "```" + `

If no pod starts, the cluster forbids host network by default: ` + "`kubectl label namespace tracer\npod-security.kubernetes.io/enforce=privileged`" + `.

` + "`values-hardened.yaml`" + ` drops privileged mode for the capabilities that are needed: unpack the chart and install it with
` + "`-f values-hardened.yaml`" + `.

## Resources

The agent holds names of as many pods as it must know, and the maps in the kernel count towards the container's memory.
A CPU limit is never right: a throttled agent loses records. It samples fewer packets rather than take more of a core than
` + "`--max-cpu`" + ` allows.

| cluster | identityScope | requests | memory limit | goMemoryLimit |
|---|---|---|---|---|
| up to 150,000 pods | ` + "`node`" + ` (the default) | 50m, 128Mi | 256Mi | 180MiB |
| up to 5,000 pods | ` + "`cluster`" + ` | 50m, 128Mi | 256Mi | 180MiB |

What the node has adds to that, measured with every packet sampled at 20,000 packets a second; resident memory is beside the 20 MiB of
maps in the kernel:

| node | flows at once | of a core | resident | advice |
|---|---|---|---|---|
| up to 50 pods | 1,000 | 1.5 %% | 30 MiB | requests of 25m, 96Mi are enough |
| up to 250 pods | 1,000 to 10,000 | 1.5 to 3 %% | 28 MiB | the defaults |
| up to 500 pods | 10,000 to 100,000 | 2 to 4.3 %% | 51 MiB | requests of 100m, 128Mi; the agent takes 10 s to start |

An agent that sees no traffic takes 0.4 %% of a core.

## Values

| value | default | what |
|---|---|---|
`

// rows writes a row for each value, and for each group of values that has a comment.
func rows(out *strings.Builder, prefix string, mapping *yaml.Node) {
	for i := 0; i+1 < len(mapping.Content); i += 2 {
		key, value := mapping.Content[i], mapping.Content[i+1]
		about := comment(key.HeadComment, value.LineComment, key.LineComment)
		if value.Kind == yaml.MappingNode && len(value.Content) > 0 {
			if about != "" {
				fmt.Fprintf(out, "| `%s` | | %s |\n", prefix+key.Value, about)
			}
			rows(out, prefix+key.Value+".", value)
			continue
		}
		fmt.Fprintf(out, "| `%s` | `%s` | %s |\n", prefix+key.Value, flow(value), about)
	}
}

// comment joins comments to one line of a table.
func comment(comments ...string) string {
	var words []string
	for _, c := range comments {
		for line := range strings.Lines(c) {
			words = append(words, strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "#"))...)
		}
	}
	return strings.ReplaceAll(strings.Join(words, " "), "|", "\\|")
}

// flow is a value on one line.
func flow(value *yaml.Node) string {
	switch value.Kind {
	case yaml.SequenceNode:
		var items []string
		for _, item := range value.Content {
			items = append(items, flow(item))
		}
		return "[" + strings.Join(items, ", ") + "]"
	case yaml.MappingNode:
		var items []string
		for i := 0; i+1 < len(value.Content); i += 2 {
			items = append(items, value.Content[i].Value+": "+flow(value.Content[i+1]))
		}
		return "{" + strings.Join(items, ", ") + "}"
	}
	if value.Value == "" {
		return `""`
	}
	return value.Value
}
