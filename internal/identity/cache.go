package identity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/statefile"
)

// CacheVersion is that of the format of identities.json, the names that were known last. Files of another version are set aside.
const CacheVersion = 1

// cacheHead is what the cache file begins with. Its "names" follow, each a cacheEntry: what is known, written for the next start, when
// the API server may not answer.
type cacheHead struct {
	Version int    `json:"version"`
	Node    string `json:"node"`
	Boot    string `json:"boot"`    // pods do not outlive it with their addresses
	Written string `json:"written"` // tells one such file from another
}

// cacheEntry is who has an address.
type cacheEntry struct {
	Address netip.Addr         `json:"address"`
	UID     string             `json:"uid,omitempty"`
	Rank    rank               `json:"rank"` // 0 for nobody, among changes
	ID      aggregate.Identity `json:"id"`
}

// cacheChanges is the first line of the file of changes. One cacheEntry a line follows: what has changed since the cache file was written.
type cacheChanges struct {
	Of string `json:"of"` // which cache file; with another one the changes mean nothing
}

// cacheState is what the files have, as far as this process wrote them.
type cacheState struct {
	version       uint64 // the owners' version that was saved last
	written       string
	size, changes int64 // bytes
}

func (k *Kubernetes) cachePath() string { return filepath.Join(k.options.StateDir, "identities.json") }

func (k *Kubernetes) changesPath() string {
	return filepath.Join(k.options.StateDir, "identities.changes")
}

// saveCache writes what has changed since the last time: all names of a large cluster are tens of megabytes. It writes all of them again
// once the changes are half as large, or if whole asks for one file that has all.
func (k *Kubernetes) saveCache(whole bool) {
	k.cacheMu.Lock()
	defer k.cacheMu.Unlock()
	version := k.owners.version.Load()
	whole = whole && k.cache.changes > 0
	if version == k.cache.version && !whole {
		return
	}
	if k.options.StateDir == "" || k.stale.Load() {
		return // what was loaded is in the file already
	}
	for _, i := range k.informers() {
		if !i.synced.Load() {
			return
		}
	}
	changed, all := k.owners.takeChanges()
	all = all || whole
	var err error
	if !all {
		all, err = k.appendChanges(changed)
	}
	if all && err == nil {
		err = k.writeCache()
	}
	if err != nil {
		k.owners.loseChanges()
		k.log.Warn("cannot save the names for the next start; make the directory writable, or give another with --state-dir", "err", err)
		return
	}
	k.cache.version = version
}

// appendChanges adds what has changed to the file of changes, unless that would become too large.
func (k *Kubernetes) appendChanges(changed []netip.Addr) (tooLarge bool, err error) {
	if len(changed) == 0 {
		return false, nil
	}
	var out bytes.Buffer
	lines := json.NewEncoder(&out)
	if k.cache.changes == 0 {
		if err := lines.Encode(cacheChanges{k.cache.written}); err != nil {
			return false, fmt.Errorf("encode names: %w", err)
		}
	}
	for _, a := range changed {
		if err := lines.Encode(k.owners.cacheEntry(a)); err != nil {
			return false, fmt.Errorf("encode names: %w", err)
		}
	}
	if k.cache.changes += int64(out.Len()); k.cache.changes > k.cache.size/2 {
		return true, nil
	}
	return false, statefile.Append(k.changesPath(), out.Bytes())
}

// writeCache writes all that is known. The file is replaced in one step: a reader sees the old one or the new one.
func (k *Kubernetes) writeCache() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	written := strconv.FormatUint(rand.Uint64(), 36)
	head, err := json.Marshal(cacheHead{Version: CacheVersion, Node: k.options.Node, Boot: boot, Written: written})
	if err != nil {
		return fmt.Errorf("encode names: %w", err)
	}
	inTable := k.owners.list()
	slices.SortFunc(inTable, netip.Addr.Compare)
	err = statefile.Stream(k.cachePath(), func(w io.Writer) error {
		out := bufio.NewWriter(w)
		// One name after another, and no lock is held meanwhile.
		separator := append(bytes.TrimSuffix(head, []byte("}")), `,"names":[`...)
		var err error
		write := func(e cacheEntry) {
			if err != nil || e.Rank == 0 {
				return
			}
			line, encodeErr := json.Marshal(e)
			_, writeErr := out.Write(append(separator, line...))
			err = errors.Join(encodeErr, writeErr)
			separator = []byte(",")
		}
		k.endpointIndex.implied(func(a netip.Addr, o owner) {
			// Not has: what somebody asks for meanwhile gets into the table, and is in no list.
			if _, listed := slices.BinarySearchFunc(inTable, a, netip.Addr.Compare); !listed {
				write(o.cacheEntry(a))
			}
		})
		for _, a := range inTable {
			write(k.owners.cacheEntry(a))
		}
		if err != nil {
			return err
		}
		if separator[0] != ',' {
			_, err = out.Write(separator)
		}
		_, endErr := out.WriteString("]}\n")
		return errors.Join(err, endErr, out.Flush())
	})
	if err != nil {
		return err
	}
	file, err := os.Stat(k.cachePath())
	if err != nil {
		return fmt.Errorf("save names: %w", err)
	}
	k.cache.written, k.cache.size, k.cache.changes = written, file.Size(), 0
	if err := os.Remove(k.changesPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("save names: %w", err)
	}
	return nil
}

// cacheEntry is who has an address now: of rank 0 if it is nobody, or not certain who.
func (t *ownerTable) cacheEntry(address netip.Addr) cacheEntry {
	t.mu.RLock()
	defer t.mu.RUnlock()
	x := t.known(address)
	if x == nil {
		return cacheEntry{Address: address}
	}
	var best *owner
	certain := false
	for i := range x.owners {
		switch o := &x.owners[i]; {
		case o.to != forever || best != nil && o.rank < best.rank:
		case best == nil || o.rank > best.rank:
			best, certain = o, true
		case *o.id != *best.id:
			certain = false
		}
	}
	if !certain {
		return cacheEntry{Address: address}
	}
	return best.cacheEntry(address)
}

func (o *owner) cacheEntry(address netip.Addr) cacheEntry {
	e := cacheEntry{Address: address, Rank: o.rank, ID: *o.id}
	if o.local {
		e.UID = o.uid // of others nobody asks for it
	}
	return e
}

// bootID tells one boot of the machine from another.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
