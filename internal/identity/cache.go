package identity

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/statefile"
)

// CacheVersion is that of the format of identities.json, the names that were known last. Files of another version are set aside.
const CacheVersion = 1

// cacheFile is what is known, written for the next start, when the API server may not answer.
type cacheFile struct {
	Version int          `json:"version"`
	Node    string       `json:"node"`
	Boot    string       `json:"boot"` // pods do not outlive it with their addresses
	Names   []cacheEntry `json:"names"`
}

type cacheEntry struct {
	Address netip.Addr         `json:"address"`
	UID     string             `json:"uid"`
	Rank    rank               `json:"rank"`
	ID      aggregate.Identity `json:"id"`
}

func (k *Kubernetes) cachePath() string { return filepath.Join(k.options.StateDir, "identities.json") }

// saveCache writes what is known to the cache file if it has changed since the last time. The file is replaced in one step:
// a reader sees the old one or the new one.
func (k *Kubernetes) saveCache() {
	k.cacheMu.Lock()
	defer k.cacheMu.Unlock()
	version := k.owners.version.Load()
	if version == k.savedVersion {
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
	if err := k.writeCache(); err != nil {
		k.log.Warn("cannot save the names for the next start; make the directory writable, or give another with --state-dir", "err", err)
		return
	}
	k.savedVersion = version
}

func (k *Kubernetes) writeCache() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	head, err := json.Marshal(cacheFile{Version: CacheVersion, Node: k.options.Node, Boot: boot, Names: []cacheEntry{}})
	if err != nil {
		return fmt.Errorf("encode names: %w", err)
	}
	// One name after another: all of a large cluster's are tens of megabytes. No lock is held meanwhile.
	type entry struct {
		address netip.Addr
		owner   owner
	}
	implied := slices.DeleteFunc(k.endpointIndex.implied(), func(e impliedEndpoint) bool { return k.owners.has(e.address()) })
	var owners []entry
	k.owners.current(func(a netip.Addr, o owner) { owners = append(owners, entry{a, o}) })
	return statefile.Stream(k.cachePath(), func(w io.Writer) error {
		out := bufio.NewWriter(w)
		separator := bytes.TrimSuffix(head, []byte("]}"))
		var err error
		write := func(a netip.Addr, o owner) {
			if err != nil {
				return
			}
			line, encodeErr := json.Marshal(cacheEntry{Address: a, UID: o.uid, Rank: o.rank, ID: *o.id})
			_, writeErr := out.Write(append(separator, line...))
			err = errors.Join(encodeErr, writeErr)
			separator = []byte(",")
		}
		// Of one address the last is believed: what the table has.
		for _, e := range implied {
			write(e.owner())
		}
		for _, e := range owners {
			write(e.address, e.owner)
		}
		if err != nil {
			return err
		}
		_, err = out.WriteString("]}\n")
		return errors.Join(err, out.Flush())
	})
}

// loadCache takes over what an earlier run saved, marked stale until the API server answers.
func (k *Kubernetes) loadCache() {
	if k.options.StateDir == "" {
		return
	}
	var state cacheFile
	switch err := statefile.Read(k.cachePath(), CacheVersion, &state); {
	case errors.Is(err, fs.ErrNotExist):
		return
	case errors.As(err, new(*fs.PathError)):
		k.log.Warn("cannot read the names that an earlier run saved; make the file readable or give another --state-dir", "err", err)
		return
	case err != nil:
		aside, asideErr := statefile.SetAside(k.cachePath())
		k.log.Warn("cannot use the names that an earlier run saved: they are set aside", "err", errors.Join(err, asideErr), "file", aside)
		return
	case state.Node != k.options.Node:
		return
	}
	boot, err := bootID()
	if err != nil {
		k.log.Warn("the names that an earlier run saved are ignored", "err", err)
		return
	}
	for _, n := range state.Names {
		local := n.Rank == pod && n.ID.Node == k.options.Node
		if local && state.Boot != boot {
			continue
		}
		id := n.ID
		id.Stale = true
		k.owners.acquire(n.Address, owner{uid: n.UID, rank: n.Rank, local: local, id: &id}, true, 0)
		k.stale.Store(true)
	}
}

// dropStale removes what was loaded from the cache and was not confirmed by the API server.
func (k *Kubernetes) dropStale() {
	type entry struct {
		address netip.Addr
		uid     string
		rank    rank
	}
	var gone []entry
	k.owners.current(func(a netip.Addr, o owner) {
		if o.id.Stale {
			gone = append(gone, entry{a, o.uid, o.rank})
		}
	})
	for _, e := range gone {
		k.owners.release(e.address, e.uid, e.rank, forever)
	}
}

// bootID tells one boot of the machine from another.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
