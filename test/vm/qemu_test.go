package main

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestHangs(t *testing.T) {
	t.Parallel()
	m := machine{console: filepath.Join(t.TempDir(), "console")}
	if !m.hangs(t.Context(), 10*time.Millisecond, time.Millisecond) {
		t.Error("a guest that says nothing was not taken for hung")
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		for said := ""; len(said) < 20; said += "alive\n" {
			if err := os.WriteFile(m.console, []byte(said), 0o600); err != nil {
				t.Error(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if m.hangs(ctx, 10*time.Second, time.Millisecond) {
		t.Error("a guest that says something was taken for hung")
	}
}
