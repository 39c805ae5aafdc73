package incident

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestStore(t *testing.T) {
	t.Parallel()
	s := Store{Dir: filepath.Join(t.TempDir(), "new", "incidents")}
	if entries, err := s.Entries(); err != nil || len(entries) != 0 {
		t.Errorf("no directory: %v, %v", entries, err)
	}
	i := incidentOf(busy(2, 2, 4))
	for range 2 {
		if err := s.Begin(i, "qdisc-delay"); err != nil {
			t.Fatal(err)
		}
	}
	if i.ID != "20260501T030211-qdisc-delay-2" {
		t.Errorf("the second of a second is %s", i.ID)
	}
	if err := errors.Join(s.AddFrame(i.ID, &i.Frames[0]), s.AddChange(i.ID, &Change{Kind: Ends, Time: began, Finding: i.Changes[0].Finding})); err != nil {
		t.Fatal(err)
	}
	for _, left := range []string{".unfinished-1", "notes.txt", "20260501T030211-.jsonl", "x.jsonl"} {
		if err := os.WriteFile(filepath.Join(s.Dir, left), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.Entries()
	if err != nil || len(entries) != 2 || entries[0].ID != i.ID || !entries[0].Began.Equal(began) {
		t.Fatalf("%v, %+v", err, entries)
	}
	back, err := ReadFile(entries[0].Path)
	if err != nil || len(back.Frames) != len(i.Frames)+1 || back.Changes[len(back.Changes)-1].Kind != Ends {
		t.Errorf("%v, %d frames, %+v", err, len(back.Frames), back.Changes)
	}
	for _, test := range []struct{ ask, want string }{
		{"last", i.ID}, {i.ID, i.ID}, {"20260501T030211-qdisc-delay", "20260501T030211-qdisc-delay"}, {"2026050", ""}, {"", ""}, {"none", ""},
	} {
		if e, err := s.Find(test.ask); e.ID != test.want || (err == nil) != (test.want != "") {
			t.Errorf("asked for %q, got %q, %v", test.ask, e.ID, err)
		}
	}
	old := time.Now().Add(-time.Hour)
	if err := os.Chtimes(filepath.Join(s.Dir, ".unfinished-1"), old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(i, "qdisc-delay"); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{".unfinished-1": false, "notes.txt": true} {
		if _, err := os.Stat(filepath.Join(s.Dir, name)); errors.Is(err, fs.ErrNotExist) == want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Remove(s.path(i.ID)); err != nil {
		t.Fatal(err)
	}
	if err := s.AddFrame(i.ID, &i.Frames[0]); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("added to what was removed: %v", err)
	}
}

// TestStoreIsBounded: the oldest goes first, also where it is old and there is room.
func TestStoreIsBounded(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(4, 2, 4))
	size := int64(len(encoded(t, i)))
	s := Store{Dir: t.TempDir(), Bytes: 8 * 2 * size} // of which an eighth is kept free
	for k := range 40 {
		i.Began = began.Add(time.Duration(k) * time.Minute)
		if err := s.Begin(i, "nic"); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(time.Duration(k-60) * 2 * time.Minute)
		if err := os.Chtimes(s.path(i.ID), when, when); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.Entries()
	if err != nil || len(entries) < 13 || len(entries) > 16 || !entries[0].Began.Equal(i.Began) {
		t.Errorf("%d are kept of 14, the latest of %v; %v", len(entries), entries[0].Began, err)
	}
	for range 100 {
		err = s.AddFrame(i.ID, &i.Frames[0])
	}
	if info, statErr := os.Stat(s.path(i.ID)); !errors.Is(err, ErrFull) || statErr != nil || info.Size() > s.maxFile() {
		t.Errorf("one file grew to %d: %v, %v", info.Size(), err, statErr)
	}
	s.Age = 3 * time.Hour
	old := time.Now().Add(-4 * time.Hour)
	if err := os.Chtimes(entries[1].Path, old, old); err != nil {
		t.Fatal(err)
	}
	if err := s.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(entries[1].Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an old one is still there: %v", err)
	}
}

// TestGrowingFilesAreCounted: ten that begin at once, of ten agents, are together no larger than the limit when each has become as
// large as it may.
func TestGrowingFilesAreCounted(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(2, 2, 4))
	size := int64(len(encoded(t, i)))
	s := Store{Dir: t.TempDir(), Bytes: 8 * 4 * size}
	for range 10 {
		if err := s.Begin(i, "nic"); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.Entries()
	if err != nil || len(entries) != 8 {
		t.Errorf("%d are kept, each up to an eighth of the limit: %v", len(entries), err)
	}
	sum := int64(0)
	for _, e := range entries {
		for err = nil; err == nil; {
			err = s.AddFrame(e.ID, &i.Frames[0])
		}
		if info, statErr := os.Stat(e.Path); statErr == nil {
			sum += info.Size()
		}
	}
	if sum > s.Bytes {
		t.Errorf("%d bytes are kept of at most %d", sum, s.Bytes)
	}
}

// TestPrune: what is too old goes without another one.
func TestPrune(t *testing.T) {
	t.Parallel()
	s, i := Store{Dir: filepath.Join(t.TempDir(), "incidents"), Age: time.Hour}, incidentOf(busy(2, 2, 4))
	if err := s.Prune(); err != nil {
		t.Errorf("no directory: %v", err)
	}
	for _, age := range []time.Duration{2 * time.Hour, 30 * time.Minute} {
		if err := s.Begin(i, "nic"); err != nil {
			t.Fatal(err)
		}
		when := time.Now().Add(-age)
		if err := os.Chtimes(s.path(i.ID), when, when); err != nil {
			t.Fatal(err)
		}
	}
	unwritten := filepath.Join(s.Dir, ".unfinished-1")
	old := time.Now().Add(-time.Hour)
	if err := errors.Join(os.WriteFile(unwritten, nil, 0o600), os.Chtimes(unwritten, old, old), s.Prune()); err != nil {
		t.Fatal(err)
	}
	entries, err := s.Entries()
	if _, left := os.Stat(unwritten); err != nil || len(entries) != 1 || entries[0].ID != i.ID || !errors.Is(left, fs.ErrNotExist) {
		t.Errorf("%v, %v, %v", entries, err, left)
	}
}

// TestWrongClock: files of a time that is to come, written while the clock was wrong, displace nothing that is written after it was set
// right: they are the first to go, and grow no more.
func TestWrongClock(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(2, 2, 4))
	size := int64(len(encoded(t, i)))
	s := Store{Dir: t.TempDir(), Bytes: 8 * 4 * size}
	begin := func(cause string) string {
		t.Helper()
		if err := s.Begin(i, cause); err != nil {
			t.Fatal(err)
		}
		return i.ID
	}
	var wrong []string
	for k := range 8 {
		wrong = append(wrong, begin("nic"))
		when := time.Now().Add(time.Duration(k+1) * 30 * 24 * time.Hour)
		if err := os.Chtimes(s.path(i.ID), when, when); err != nil {
			t.Fatal(err)
		}
	}
	first := begin("mtu")
	for range 6 { // each as large as it may become: with the first, as many as there is room for
		begin("no-route")
	}
	if err := s.Prune(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(s.path(first)); err != nil {
		t.Errorf("what was written by the right time is gone: %v", err)
	}
	for _, id := range wrong {
		if _, err := os.Stat(s.path(id)); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s, of a time to come, is still there: %v", id, err)
		}
	}
	other := s
	other.Dir = t.TempDir()
	if err := other.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	soon := time.Now().Add(growsFor / 2) // set back by a little, as clocks are
	if err := errors.Join(os.Chtimes(other.path(i.ID), soon, soon), other.Prune()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(other.path(i.ID)); err != nil {
		t.Errorf("a clock that was set back by a little: %v", err)
	}
}

// TestSharedStore has eight writers begin incidents of the same second in one directory, and readers list them meanwhile: each has its
// own, whole from the first moment.
func TestSharedStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var writers, readers sync.WaitGroup
	done := make(chan struct{})
	readers.Go(func() {
		for {
			s := Store{Dir: dir}
			entries, err := s.Entries()
			if err != nil {
				t.Error(err)
			}
			for _, e := range entries {
				if i, err := ReadFile(e.Path); err != nil || i.Damaged > 0 || len(i.Frames) < 3 || i.ID != e.ID {
					t.Errorf("%s: %v", e.ID, err)
				}
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for n := range 8 {
		writers.Go(func() {
			s, i := Store{Dir: dir, Bytes: 256 << 20}, incidentOf(busy(2, 2, 4)) // room for 32 that grow
			i.Node = fmt.Sprint(n)
			for range 4 {
				if err := s.Begin(i, "nic"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	writers.Wait()
	close(done)
	readers.Wait()
	s := Store{Dir: dir}
	entries, err := s.Entries()
	if err != nil || len(entries) != 32 {
		t.Errorf("%d, %v", len(entries), err)
	}
}

// TestFullDisk: nothing is there in part, and it goes on once there is room. A limit on the size of files fails as a full disk does,
// for the whole process: so it is a file system of its own here.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Fatal(err) // tests run as root
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	s, i := Store{Dir: dir}, incidentOf(busy(2, 2, 4))
	if err := s.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	var err error
	for err == nil {
		err = s.AddFrame(i.ID, &i.Frames[0])
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if back, err := ReadFile(s.path(i.ID)); err != nil || back.Damaged != 0 {
		t.Errorf("after it: %v", err)
	}
	first := i.ID
	if err := s.Begin(i, "mtu"); err != nil {
		t.Errorf("the oldest made no room: %v", err)
	}
	if _, err := os.Stat(s.path(first)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the oldest is still there: %v", err)
	}
	if back, err := ReadFile(s.path(i.ID)); err != nil || back.Damaged != 0 || len(back.Frames) != len(i.Frames) {
		t.Errorf("begun on a full disk: %v", err)
	}
	second := i.ID
	if err := s.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // it has room until the other is gone
		_, kept := os.Stat(s.path(second))
		if err = s.AddFrame(i.ID, &i.Frames[0]); err != nil && kept == nil {
			t.Fatalf("the oldest made no room for a frame: %v", err)
		}
	}
	if back, readErr := ReadFile(s.path(i.ID)); !errors.Is(err, unix.ENOSPC) || readErr != nil || back.Damaged != 0 {
		t.Errorf("its own file makes no room: %v, %v", err, readErr)
	}
	if err := os.WriteFile(filepath.Join(dir, "of others"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	small := s.path(i.ID)
	if err := os.Truncate(small, 100); err != nil {
		t.Fatal(err)
	}
	for err = nil; err == nil; { // what others have takes that room too
		err = os.WriteFile(filepath.Join(dir, "more of others"), make([]byte, 1<<20), 0o600)
	}
	if err := s.Begin(i, "mtu"); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("begun: %v", err)
	}
	if _, err := os.Stat(small); err != nil {
		t.Errorf("removed though that makes too little room: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, unfinished)); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	for _, name := range []string{"of others", "more of others"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Begin(i, "mtu"); err != nil {
		t.Error(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	kept := i.ID
	if err := s.AddFrame(kept, &i.Frames[0]); !errors.Is(err, unix.EROFS) {
		t.Errorf("read-only: %v", err)
	}
	if err := s.Begin(i, "mtu"); !errors.Is(err, unix.EROFS) {
		t.Errorf("read-only: %v", err)
	}
	if _, err := ReadFile(s.path(kept)); err != nil {
		t.Errorf("read-only: %v", err)
	}
}
