package statefile

import (
	"os"
	"path/filepath"
	"testing"
)

// FuzzRead reads files that were damaged: their content, or an error.
func FuzzRead(f *testing.F) {
	path := filepath.Join(f.TempDir(), "state.json")
	f.Add([]byte(`{"version":1,"names":[{"address":"10.0.0.1","uid":"a","rank":2,"id":{"pod":"web-1"}}]}`))
	f.Add([]byte(`{"version":1,"names":`))
	f.Add([]byte{0, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var v struct {
			Version int
			Names   []struct{ Address, UID string }
		}
		if err := Read(path, 1, &v); err == nil && v.Version != 1 {
			t.Errorf("version %d was taken for 1", v.Version)
		}
	})
}
