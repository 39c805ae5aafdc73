package k8srig

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// kept is how long the cache keeps what nobody uses: other checkouts, and other branches, need what was built of their own sources.
const kept = 7 * 24 * time.Hour

// lockCache is a folder of the cache, held until it is unlocked.
func lockCache(name string) (dir string, unlock func(), err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", nil, err
	}
	dir = filepath.Join(cache, "tracer", name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", nil, err
	}
	err = unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		fmt.Fprintf(os.Stderr, "k8srig: waiting for %s, which another holds\n", lock.Name())
		err = unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	}
	if err != nil {
		lock.Close()
		return "", nil, fmt.Errorf("lock %s: %w", lock.Name(), err)
	}
	return dir, func() { lock.Close() }, nil
}

// used tells whether the cache has a file or a folder, and notes that it is in use.
func used(name string) bool {
	now := time.Now()
	return os.Chtimes(name, now, now) == nil
}

// prune removes what matches a pattern and was not used for long.
func prune(pattern string) error {
	names, err := filepath.Glob(pattern)
	if err != nil {
		return err
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err == nil && time.Since(info.ModTime()) > kept {
			err = os.RemoveAll(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
