package identity

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/statefile"
)

// keptVersion is that of the file's format. Another one is left aside.
const keptVersion = 1

// kept is what a source writes down for the next start, when the API server may not answer.
type kept struct {
	Version int        `json:"version"`
	Node    string     `json:"node"`
	Boot    string     `json:"boot"` // pods do not outlive it with their addresses
	Names   []keptName `json:"names"`
}

type keptName struct {
	Address netip.Addr         `json:"address"`
	UID     string             `json:"uid"`
	Rank    rank               `json:"rank"`
	ID      aggregate.Identity `json:"id"`
}

func (k *Kubernetes) keptPath() string { return filepath.Join(k.options.StateDir, "identities.json") }

// keep writes down what is known, unless it is what was written last: nothing in the file grows old by itself. A reader
// sees the old file or the new one, whole.
func (k *Kubernetes) keep() {
	k.keeping.Lock()
	defer k.keeping.Unlock()
	version := k.holdings.version.Load()
	if version == k.keptAt {
		return
	}
	if k.options.StateDir == "" || k.stale.Load() {
		return // what was read is there already
	}
	for _, w := range k.watchers() {
		if !w.synced.Load() {
			return
		}
	}
	if err := k.write(); err != nil {
		k.log.Warn("names are not kept for the next start; make the directory writable, or give another with --state-dir", "err", err)
		return
	}
	k.keptAt = version
}

func (k *Kubernetes) write() error {
	boot, err := bootID()
	if err != nil {
		return err
	}
	state := kept{Version: keptVersion, Node: k.options.Node, Boot: boot}
	k.holdings.held(func(a netip.Addr, h holder) {
		state.Names = append(state.Names, keptName{Address: a, UID: h.uid, Rank: h.rank, ID: *h.id})
	})
	return statefile.Write(k.keptPath(), state)
}

// restore takes what an earlier run kept, marked stale until the API server answers.
func (k *Kubernetes) restore() {
	if k.options.StateDir == "" {
		return
	}
	var state kept
	switch err := statefile.Read(k.keptPath(), keptVersion, &state); {
	case errors.Is(err, fs.ErrNotExist):
		return
	case err != nil:
		k.log.Warn("names kept by an earlier run are left aside", "err", err)
		return
	case state.Node != k.options.Node:
		return
	}
	boot, err := bootID()
	if err != nil {
		k.log.Warn("names kept by an earlier run are left aside", "err", err)
		return
	}
	for _, n := range state.Names {
		local := n.Rank == pod && n.ID.Node == k.options.Node
		if local && state.Boot != boot {
			continue
		}
		id := n.ID
		id.Stale = true
		k.holdings.claim(n.Address, holder{uid: n.UID, rank: n.Rank, local: local, id: &id}, true, 0)
		k.stale.Store(true)
	}
}

// dropStale forgets what was kept and is not so any more.
func (k *Kubernetes) dropStale() {
	type hold struct {
		address netip.Addr
		uid     string
		rank    rank
	}
	var gone []hold
	k.holdings.held(func(a netip.Addr, h holder) {
		if h.id.Stale {
			gone = append(gone, hold{a, h.uid, h.rank})
		}
	})
	for _, h := range gone {
		k.holdings.release(h.address, h.uid, h.rank, forever)
	}
}

// bootID tells one boot of the machine from another.
func bootID() (string, error) {
	data, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(data)), err
}
