//go:build unix

package incident

import (
	"sync"
	"time"
)

// keepFor is how long a Reader keeps what it has read: who goes through an incident asks for the next frame sooner.
const keepFor = 20 * time.Second

// Reader reads a Store's incidents one after the other, and keeps the last one for a while: its frames are asked for one by one.
type Reader struct {
	Store *Store

	mu    sync.Mutex
	entry Entry
	last  *Incident // nil if none is kept; nobody changes it
	drop  *time.Timer
}

// Read reads the incident of an ID, as Store.Read does. It is not to be changed.
func (r *Reader) Read(id string) (*Incident, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry, err := r.Store.Find(id)
	if err != nil {
		return nil, err
	}
	if r.drop != nil {
		r.drop.Stop()
	}
	if r.last == nil || r.entry != entry {
		r.last = nil // the memory of one is taken at a time
		i, err := r.Store.Read(entry.ID)
		if err != nil {
			return nil, err
		}
		r.entry, r.last = entry, i
	}
	r.drop = time.AfterFunc(keepFor, r.forget)
	return r.last, nil
}

func (r *Reader) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = nil
}
