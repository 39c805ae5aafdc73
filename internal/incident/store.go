//go:build unix

package incident

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// The limits of a Store that are taken unless others are given.
const (
	DefaultBytes = 64 << 20
	DefaultAge   = 7 * 24 * time.Hour
)

const suffix = ".jsonl"

// Store is a directory of incidents. Several agents may share one: a lock is held while a file is made and old ones are removed, and no
// file has two writers.
type Store struct {
	Dir string
	// Bytes and Age are how much is kept at most; the oldest goes first. Zero means the default.
	Bytes int64
	Age   time.Duration
}

// Entry is one file of a Store.
type Entry struct {
	ID    string
	Path  string
	Began time.Time // as the ID says, to the second
	Bytes int64
	mtime time.Time
}

// idForm is an ID: when it began, the cause, and a number where one began in the same second.
var idForm = regexp.MustCompile(`^(\d{8}T\d{6})-[a-z0-9-]+$`)

const idTime = "20060102T150405"

// NewID is the ID of an incident that begins then; number is 1 unless that is taken.
func NewID(began time.Time, cause string, number int) string {
	id := began.UTC().Format(idTime) + "-" + regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllString(cause, "-")
	if number > 1 {
		id += fmt.Sprintf("-%d", number)
	}
	return id
}

// ErrNoIncident tells that there is no such incident.
var ErrNoIncident = errors.New("no such incident")

// ErrAmbiguous tells that several incidents begin with what is given of an ID.
var ErrAmbiguous = errors.New("give more of the incident's ID")

// Entries are those there are, the latest first. A directory that is not there has none.
func (s *Store) Entries() ([]Entry, error) {
	files, err := os.ReadDir(s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list incidents: %w", err)
	}
	var entries []Entry
	for _, f := range files {
		id, ok := strings.CutSuffix(f.Name(), suffix)
		match := idForm.FindStringSubmatch(id)
		if !ok || match == nil {
			continue
		}
		info, err := f.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // it has gone meanwhile, or is none of ours
		}
		began, err := time.Parse(idTime, match[1])
		if err != nil {
			continue
		}
		entries = append(entries, Entry{ID: id, Path: filepath.Join(s.Dir, f.Name()), Began: began, Bytes: info.Size(), mtime: info.ModTime()})
	}
	slices.SortFunc(entries, compareEntries)
	return entries, nil
}

// compareEntries puts the latest first.
func compareEntries(a, b Entry) int {
	return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(b.ID, a.ID))
}

// Find is the entry of an ID, or of the beginning of one that only one has; "last" is the latest. The error is ErrNoIncident where there
// is none.
func (s *Store) Find(id string) (Entry, error) {
	entries, err := s.Entries()
	if err != nil {
		return Entry{}, err
	}
	var found []Entry
	for k, e := range entries {
		if e.ID == id || id == "last" && k == 0 {
			return e, nil
		}
		if id != "" && strings.HasPrefix(e.ID, id) {
			found = append(found, e)
		}
	}
	switch len(found) {
	case 0:
		return Entry{}, fmt.Errorf("%w: %q in %s", ErrNoIncident, id, s.Dir)
	case 1:
		return found[0], nil
	}
	return Entry{}, fmt.Errorf("%w: %q may be %s or %s", ErrAmbiguous, id, found[1].ID, found[0].ID)
}

// maxRead is how large a file is read at most, in bytes: no agent writes one of half that size.
const maxRead = 16 << 20

// ErrTooLarge tells that a file is larger than any that an agent writes.
var ErrTooLarge = errors.New("the file is larger than any that an agent writes")

// Read reads the incident of an ID, as Find takes it. A file elsewhere is never read.
func (s *Store) Read(id string) (*Incident, error) {
	entry, err := s.Find(id)
	if err != nil {
		return nil, err
	}
	if entry.Bytes > maxRead {
		return nil, fmt.Errorf("%s: %w", entry.Path, ErrTooLarge)
	}
	return ReadFile(entry.Path)
}

// Begin writes an incident as it is so far, under an ID that nobody has, which it sets. The file is there as a whole or not at all.
func (s *Store) Begin(i *Incident, cause string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("keep incident: %w", err)
		}
	}()
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return err
	}
	rest, err := i.encodeLines()
	for ; err == nil && int64(len(rest)) > s.maxFile()/2 && len(i.Frames) > 1; rest, err = i.encodeLines() {
		i.Frames = i.Frames[1:]
	}
	if err != nil {
		return err
	}
	for number := 1; ; number++ {
		i.ID = NewID(i.Began, cause, number)
		if _, err := os.Lstat(s.path(i.ID)); err == nil {
			continue
		}
		header, err := json.Marshal(line{Header: &i.Header})
		if err != nil {
			return err
		}
		if err = s.writeNew(i.ID, append(header, '\n'), rest); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
}

// unfinished are the names of files that are being written, and abandonedAfter is when nobody writes one any more.
const (
	unfinished     = ".unfinished-*"
	abandonedAfter = 10 * time.Minute
)

// writeNew makes a file with all of its content at once; fs.ErrExist if there is one.
func (s *Store) writeNew(id string, header, rest []byte) error {
	err := s.tryNew(id, header, rest)
	if isFull(err) && s.makeRoom(id, len(header)+len(rest)) {
		err = s.tryNew(id, header, rest)
	}
	return err
}

// tryNew is writeNew on a disk that has room. The disk is waited for without the lock.
func (s *Store) tryNew(id string, header, rest []byte) error {
	file, err := os.CreateTemp(s.Dir, unfinished)
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(header)
	if err == nil {
		_, err = file.Write(rest)
	}
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.prune(); err != nil {
		return err
	}
	return os.Link(file.Name(), s.path(id)) // unlike a rename it replaces nothing
}

func (s *Store) path(id string) string { return filepath.Join(s.Dir, id+suffix) }

// ErrFull tells that an incident's file is as large as it may become.
var ErrFull = errors.New("the incident's file is full")

// AddFrame and AddChange append to an incident that was begun. A line that could not be written is not there in part. The error is
// fs.ErrNotExist where the incident was removed meanwhile.
func (s *Store) AddFrame(id string, f *Frame) error { return s.add(id, line{Frame: f}) }

// AddChange is AddFrame for a change.
func (s *Store) AddChange(id string, c *Change) error { return s.add(id, line{Change: c}) }

func (s *Store) add(id string, l line) error {
	text, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("keep incident: %w", err)
	}
	err = s.append(id, text)
	if isFull(err) && s.makeRoom(id, len(text)) {
		err = s.append(id, text)
	}
	return err
}

// append writes a line on a disk that has room.
func (s *Store) append(id string, text []byte) (err error) {
	file, err := os.OpenFile(s.path(id), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return fmt.Errorf("keep incident: %w", err)
	}
	defer func() {
		if closing := file.Close(); err == nil && closing != nil {
			err = fmt.Errorf("keep incident: %w", closing)
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("keep incident: %w", err)
	}
	if info.Size()+int64(len(text)) >= s.maxFile() {
		return ErrFull
	}
	if _, err := file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("keep incident: %w", errors.Join(err, file.Truncate(info.Size())))
	}
	return nil
}

func (s *Store) bytes() int64 {
	if s.Bytes > 0 {
		return s.Bytes
	}
	return DefaultBytes
}

func (s *Store) age() time.Duration {
	if s.Age > 0 {
		return s.Age
	}
	return DefaultAge
}

// maxFile is how large one file becomes at most, in bytes: what comes then is not kept any more.
func (s *Store) maxFile() int64 { return min(4<<20, s.bytes()/8) }

// Prune removes what is too old or too much, as Begin does, where none begins for long.
func (s *Store) Prune() error {
	unlock, err := s.lock()
	if errors.Is(err, fs.ErrNotExist) {
		return nil // nothing was kept yet
	}
	if err == nil {
		defer unlock()
		err = s.prune()
	}
	if err != nil {
		return fmt.Errorf("remove old incidents: %w", err)
	}
	return nil
}

// growsFor is how long after its last line a file may get another one, and counts as large as it may become.
const growsFor = time.Minute

// prune removes the oldest until there is room for another one, those that are too old, and what a writer left that was killed.
func (s *Store) prune() error {
	left, _ := filepath.Glob(filepath.Join(s.Dir, unfinished))
	for _, file := range left {
		if info, err := os.Lstat(file); err == nil && time.Since(info.ModTime()) > abandonedAfter {
			_ = os.Remove(file) // no harm in one that stays
		}
	}
	now := time.Now()
	entries, err := s.byAge(now)
	if err != nil {
		return err
	}
	room := s.bytes() - s.maxFile()
	for _, e := range entries {
		size, age := e.Bytes, now.Sub(e.mtime)
		if age < growsFor {
			size = max(size, s.maxFile())
		}
		if room -= size; room >= 0 && age <= s.age() {
			continue
		}
		if err := os.Remove(e.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// byAge are the entries by their last line, the latest first. When a file of a time to come was written, while the clock was wrong, nobody
// knows: it counts as the oldest that is kept, and so goes first.
func (s *Store) byAge(now time.Time) ([]Entry, error) {
	entries, err := s.Entries()
	for k := range entries {
		if e := &entries[k]; e.mtime.Sub(now) > growsFor {
			e.mtime = now.Add(-s.age())
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return b.mtime.Compare(a.mtime) })
	return entries, err
}

// isFull tells of an error that the disk, or what we may use of it, is full.
func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// blocks is what a file takes beyond its content, in bytes: the rest of its last block, and what tells where it is.
const blocks = 16 << 10

// makeRoom removes the oldest incidents but one until a full disk has room for so many bytes, and tells whether it did. It removes none
// where all of them together are too few.
func (s *Store) makeRoom(but string, bytes int) bool {
	unlock, err := s.lock()
	if err != nil {
		return false
	}
	defer unlock()
	entries, err := s.byAge(time.Now())
	if err != nil {
		return false
	}
	entries = slices.DeleteFunc(entries, func(e Entry) bool { return e.ID == but })
	slices.Reverse(entries)
	freed, wanted := int64(0), int64(bytes+blocks)
	for k, e := range entries {
		if freed += e.Bytes; freed >= wanted {
			for _, oldest := range entries[:k+1] {
				if err := os.Remove(oldest.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
					return false
				}
			}
			return true
		}
	}
	return false
}

// lockWait is how long another agent may hold the lock: it removes old files meanwhile.
const lockWait = 5 * time.Second

// lock keeps other agents from making and removing files. The kernel gives it back when a process is killed.
func (s *Store) lock() (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(s.Dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(lockWait); ; time.Sleep(10 * time.Millisecond) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil // which gives it back
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("lock %s: %w", file.Name(), err), file.Close())
		}
	}
}
