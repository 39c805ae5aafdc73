package npd

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"
)

// TestPatch applies the example to node-problem-detector's own manifest, as kubectl does: nothing that it has is lost, and what the plugin's
// configuration names is there.
func TestPatch(t *testing.T) {
	t.Parallel()
	module, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/node-problem-detector").Output()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := os.ReadFile(filepath.Join(string(bytes.TrimSpace(module)), "deployment", "node-problem-detector.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	original, err := yaml.YAMLToJSON(manifest)
	if err != nil {
		t.Fatal(err)
	}
	example, err := os.ReadFile("../../deploy/examples/node-problem-detector-patch.yaml")
	if err != nil {
		t.Fatal(err)
	}
	patch, err := yaml.YAMLToJSON(example)
	if err != nil {
		t.Fatal(err)
	}
	merged, err := strategicpatch.StrategicMergePatch(original, patch, appsv1.DaemonSet{})
	if err != nil {
		t.Fatal(err)
	}
	var before, after appsv1.DaemonSet
	if err := json.Unmarshal(original, &before); err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(merged, &after); err != nil {
		t.Fatal(err)
	}
	was, is := before.Spec.Template.Spec, after.Spec.Template.Spec
	if len(is.Containers) != 1 || is.Containers[0].Image != was.Containers[0].Image || !slices.Equal(is.Containers[0].Command, was.Containers[0].Command) {
		t.Fatalf("the containers are %+v", is.Containers)
	}
	for _, v := range was.Volumes {
		if !slices.ContainsFunc(is.Volumes, func(o corev1.Volume) bool { return o.Name == v.Name }) {
			t.Errorf("volume %s is lost", v.Name)
		}
	}
	container := is.Containers[0]
	for _, m := range was.Containers[0].VolumeMounts {
		if !slices.ContainsFunc(container.VolumeMounts, func(o corev1.VolumeMount) bool { return o.Name == m.Name && o.MountPath == m.MountPath }) {
			t.Errorf("mount %s is lost", m.Name)
		}
	}
	mounts := map[string]string{} // volumes, by where they are in the detector's container
	for _, m := range container.VolumeMounts {
		mounts[m.MountPath] = m.Name
		if !slices.ContainsFunc(is.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
			t.Errorf("there is no volume %s", m.Name)
		}
	}
	plugin, err := os.ReadFile("../../deploy/node-problem-detector.json")
	if err != nil {
		t.Fatal(err)
	}
	init := is.InitContainers[0]
	program := init.Args[1]
	if !strings.Contains(string(plugin), `"path": "`+program+`"`) || init.VolumeMounts[0].Name != mounts[filepath.Dir(program)] {
		t.Errorf("the program is copied to %s of %s, the detector has %v", program, init.VolumeMounts[0].Name, mounts)
	}
	if len(container.Command) == 0 {
		t.Error("there is no command to which the documentation could add an argument")
	}
	if mounts["/run/tracer"] == "" || mounts["/config/tracer"] == "" {
		t.Errorf("the detector has %v", mounts)
	}
	if limit := container.Resources.Limits; limit.Cpu().MilliValue() < 100 || limit.Memory().IsZero() {
		t.Errorf("its limits are %v", limit)
	}
}
