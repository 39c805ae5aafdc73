package chart

import (
	"encoding/json"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// viewerPod is what of the viewers' DaemonSet says what its pods may.
type viewerPod struct {
	Metadata struct{ Namespace string }
	Spec     struct {
		Template struct {
			Spec struct {
				HostNetwork, HostPID, HostIPC bool
				AutomountServiceAccountToken  *bool
				ServiceAccountName            string
				SecurityContext               struct {
					RunAsNonRoot          bool
					RunAsUser, RunAsGroup int
				}
				Containers []struct {
					Args            []string
					SecurityContext struct {
						AllowPrivilegeEscalation, Privileged *bool
						ReadOnlyRootFilesystem               bool
						Capabilities                         struct{ Add, Drop []string }
					}
					VolumeMounts []struct {
						MountPath string
						ReadOnly  bool
					}
				}
				Volumes []struct{ HostPath *struct{ Path string } }
			}
		}
	}
}

// TestViewer: the viewers' pods have no right and see one directory of the host; the role lets nobody do more than exec into them.
func TestViewer(t *testing.T) {
	values := variants()["all"]
	files, err := Render(load(t), values)
	if err != nil {
		t.Fatal(err)
	}
	text := files["tracer/templates/viewer.yaml"]
	var pod viewerPod
	for document := range strings.SplitSeq(text, "\n---\n") {
		if strings.Contains(document, "kind: DaemonSet") {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatal(err)
			}
			data, err := json.Marshal(object) // whose names are matched whatever their case
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(data, &pod); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := pod.Spec.Template.Spec
	if pod.Metadata.Namespace != "tracer-viewer" || s.HostNetwork || s.HostPID || s.HostIPC || s.ServiceAccountName != "" ||
		s.AutomountServiceAccountToken == nil || *s.AutomountServiceAccountToken {
		t.Errorf("%+v", pod)
	}
	if !s.SecurityContext.RunAsNonRoot || s.SecurityContext.RunAsUser != 65534 || s.SecurityContext.RunAsGroup != 9435 || len(s.Containers) != 1 || len(s.Volumes) != 1 {
		t.Fatalf("%+v", s)
	}
	c := s.Containers[0]
	if c.SecurityContext.AllowPrivilegeEscalation == nil || *c.SecurityContext.AllowPrivilegeEscalation || *c.SecurityContext.Privileged || !c.SecurityContext.ReadOnlyRootFilesystem ||
		len(c.SecurityContext.Capabilities.Add) != 0 || strings.Join(c.SecurityContext.Capabilities.Drop, " ") != "ALL" || strings.Join(c.Args, " ") != "viewer" {
		t.Errorf("%+v", c)
	}
	if len(c.VolumeMounts) != 1 || c.VolumeMounts[0].MountPath != "/run/tracer-viewer" || !c.VolumeMounts[0].ReadOnly || s.Volumes[0].HostPath.Path != "/run/tracer-viewer" {
		t.Errorf("%+v, %+v", c.VolumeMounts, s.Volumes)
	}
	for _, want := range []string{"kind: Role\n", "resources: [pods/exec]", "kind: RoleBinding", "name: developers"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "ClusterRole") {
		t.Error("a right in the whole cluster")
	}
	agent := files["tracer/templates/daemonset.yaml"]
	for _, want := range []string{"--viewer-socket=/run/tracer-viewer/agent.sock", "--viewer-group=9435", "supplementalGroups: [9435]"} {
		if !strings.Contains(agent, want) {
			t.Errorf("no %q in the agents' DaemonSet", want)
		}
	}
}

// TestNoViewer: without the option nothing of it is there, and the agents' own namespace is refused for it.
func TestNoViewer(t *testing.T) {
	files, err := Render(load(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if strings.Contains(text, "viewer") {
			t.Errorf("%s: %s", name, text)
		}
	}
	if _, err := Render(load(t), map[string]any{"viewer": map[string]any{"enabled": true, "namespace": "tracer"}}); err == nil || !strings.Contains(err.Error(), "one of its own") {
		t.Error(err)
	}
}
