package agent

import (
	"os"
	"slices"
	"testing"
)

func TestUnwritten(t *testing.T) {
	t.Parallel()
	const smaps = `00400000-010c4000 r-xp 00000000 fe:00 1234                               /usr/bin/tracer
Size:              13072 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
010c4000-01e78000 r--p 00cc4000 fe:00 1234                               /usr/bin/tracer
Rss:               10064 kB
Anonymous:             0 kB
01e78000-01ff2000 rw-p 01a78000 fe:00 1234                               /usr/bin/tracer
Anonymous:             0 kB
7f0000000000-7f0000001000 r--p 001d0000 fe:00 99                         /lib/libc.so.6
Anonymous:             4 kB
7f0000001000-7f0000002000 r--s 00000000 00:0e 1051                       anon_inode:bpf-map
Anonymous:             0 kB
7f0000002000-7f0000003000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000003000-7f0000004000 r--s 00000000 fe:00 7                          /var/shared
Anonymous:             0 kB
`
	want := []mapping{{0x400000, 0x10c4000}, {0x10c4000, 0x1e78000}}
	if got := unwritten(smaps); !slices.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
}

// TestForgetStart gives this process's own memory back, and goes on.
func TestForgetStart(t *testing.T) {
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	if len(unwritten(string(text))) == 0 {
		t.Error("this program's code is nowhere")
	}
	if err := ForgetStart(); err != nil {
		t.Error(err)
	}
}
