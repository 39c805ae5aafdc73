package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// namedTest is how docs/SECURITY.md names a test.
var namedTest = regexp.MustCompile("`(Test[A-Za-z]+)`")

// TestSecurityTests finds each test that the page on security names.
func TestSecurityTests(t *testing.T) {
	t.Parallel()
	all := sources(t)
	page, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest.FindAllStringSubmatch(string(page), -1)
	if len(named) < 20 {
		t.Errorf("the page names %d tests", len(named))
	}
	for _, m := range named {
		found := false
		for name, text := range all {
			found = found || strings.HasSuffix(name, "_test.go") && strings.Contains(text, "func "+m[1]+"(t *testing.T")
		}
		if !found {
			t.Errorf("there is no %s", m[1])
		}
	}
}

var (
	hostPath     = regexp.MustCompile(`hostPath: *{path: ([^,}]+)`)
	capabilities = regexp.MustCompile(`(?m)^ +- ([A-Z_]+) #`)
)

// TestRights: the chart asks for the host's directories and the capabilities that the page explains, and for no others.
func TestRights(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	list := func(expression *regexp.Regexp, text string) (found []string) {
		for _, m := range expression.FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		slices.Sort(found)
		return slices.Compact(found)
	}
	page := read("SECURITY.md")
	for manifest, want := range map[string][]string{
		"../deploy/helm/tracer/templates/daemonset.yaml": {"/run/tracer", "/run/tracer-viewer", "/var/lib/tracer"},
		"../deploy/helm/tracer/templates/viewer.yaml":    {"/run/tracer-viewer"},
		"../deploy/tracer.yaml":                          {"/run/tracer", "/var/lib/tracer"},
	} {
		text := read(manifest)
		paths := list(hostPath, text)
		if !slices.Equal(paths, want) || strings.Count(text, "hostPath:") != len(want) {
			t.Errorf("%s mounts %v of the host, want %v", manifest, paths, want)
		}
		for _, path := range paths {
			if !strings.Contains(page, "\n| `"+path+"` of the host |") {
				t.Errorf("the page does not say what %s is for", path)
			}
		}
	}
	hardened := read("../deploy/helm/tracer/values-hardened.yaml")
	got := list(capabilities, hardened)
	if want := []string{"BPF", "NET_ADMIN", "PERFMON", "SYSLOG", "SYS_RESOURCE"}; !slices.Equal(got, want) {
		t.Errorf("values-hardened.yaml has the capabilities %v, want %v", got, want)
	}
	for _, c := range got {
		if !strings.Contains(page, "\n| `CAP_"+c+"` |") {
			t.Errorf("the page does not say what %s is for", c)
		}
	}
	for _, line := range []string{"readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "seccompProfile: {type: RuntimeDefault}", "drop: [ALL]", "privileged: false", "hostPID: false"} {
		if !strings.Contains(hardened, line) {
			t.Errorf("values-hardened.yaml has no %q", line)
		}
	}
}
