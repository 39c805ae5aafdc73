package loader

import "testing"

// TestNamesOfPodDevices: the kernel takes any bytes for a device's name but white space, "/" and ":".
func TestNamesOfPodDevices(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"eth0": "eth0", "\x1b[2J\x9b31m": "\ufffd[2J\ufffd31m", "a\u202eb": "a\ufffdb", "": ""} {
		var raw [16]int8
		for i := range len(name) {
			raw[i] = int8(name[i])
		}
		if got := text(raw); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
