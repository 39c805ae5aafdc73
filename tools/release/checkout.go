package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// checkout is the source that a release is made from.
type checkout struct {
	dir    string
	commit string
	time   time.Time // of the commit; everything that a release dates has this date
}

// openCheckout asks git, or takes the commit that it is given and the time from SOURCE_DATE_EPOCH.
func openCheckout(ctx context.Context, dir, commit string) (checkout, error) {
	epoch := os.Getenv("SOURCE_DATE_EPOCH")
	if commit == "" {
		if _, err := os.Stat(filepath.Join(dir, ".git")); err != nil {
			return checkout{}, errors.New("there is no git to ask for the commit: give COMMIT=… and SOURCE_DATE_EPOCH=…")
		}
		for _, args := range [][]string{
			{"status", "--porcelain", "--untracked-files=all"},
			append([]string{"status", "--porcelain", "--untracked-files=all", "--ignored", "--"}, packed()...),
		} {
			changes, err := git(ctx, dir, args...)
			if err != nil {
				return checkout{}, err
			}
			if changes != "" {
				return checkout{}, fmt.Errorf("%w:\n%s", errDirty, changes)
			}
		}
		var err error
		if commit, err = git(ctx, dir, "rev-parse", "HEAD"); err != nil {
			return checkout{}, err
		}
		if epoch, err = git(ctx, dir, "log", "-1", "--format=%ct"); err != nil {
			return checkout{}, err
		}
	}
	seconds, err := strconv.ParseInt(epoch, 10, 64)
	if err != nil {
		return checkout{}, fmt.Errorf("SOURCE_DATE_EPOCH, the commit's time, is no number of seconds: %q", epoch)
	}
	return checkout{dir, commit, time.Unix(seconds, 0).UTC()}, nil
}

// packed are the directories of which programs and chart are made. In them files that git ignores would be released as well.
func packed() []string { return []string{"bpf", "cmd", "deploy", "docs", "internal", "vendor"} }

func (c checkout) path(name string) string { return filepath.Join(c.dir, filepath.FromSlash(name)) }

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w", args[0], err)
	}
	return strings.TrimSpace(string(out)), nil
}
