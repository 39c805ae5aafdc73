package build

import (
	"runtime/debug"
	"testing"
)

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ linked, module, want string }{
		{"v0.2.0", "v0.1.0", "v0.2.0"}, // of a release
		{Unknown, "v0.1.0", "v0.1.0"},  // of go install
		{Unknown, "(devel)", Unknown},
		{Unknown, "", Unknown},
	} {
		if got := version(c.linked, &debug.BuildInfo{Main: debug.Module{Version: c.module}}); got != c.want {
			t.Errorf("linked %q, of the module %q: %q, want %q", c.linked, c.module, got, c.want)
		}
	}
	if got := version(Unknown, nil); got != Unknown {
		t.Errorf("without build information: %q", got)
	}
	if got := Version("v0.2.0"); got != "v0.2.0" {
		t.Errorf("linked: %q", got)
	}
}
