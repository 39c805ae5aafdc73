package agent

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"time"
)

// saltEpoch is for how long the salt of sampling is the same. Nodes whose clocks are d apart have different ones for a part of
// d/saltEpoch of the time, and so have packets for what an agent takes to begin an epoch: with clocks 10 ms apart 0.4 %.
const saltEpoch = 30 * time.Second

// salts are those of sampling: agents that share a key sample by the same one at the same time, without talking to each other. Whoever
// does not know the key cannot tell which packets are sampled.
type salts struct {
	shared func() string // "" while it is not known
	own    string        // in place of the shared one until then
}

func newSalts(shared func() string) salts {
	if shared == nil {
		shared = func() string { return "" }
	}
	return salts{shared: shared, own: rand.Text()}
}

// key is what the salt is made of, and whether other agents know it.
func (s *salts) key() (key string, shared bool) {
	if key = s.shared(); key != "" {
		return key, true
	}
	return s.own, false
}

// at is the salt at a time of day.
func (s *salts) at(now time.Time) uint64 {
	key, _ := s.key()
	mac := hmac.New(sha256.New, []byte(key)) // whose Write never fails
	_, _ = mac.Write(binary.BigEndian.AppendUint64([]byte("sampling salt "), uint64(now.UnixNano()/int64(saltEpoch))))
	return binary.BigEndian.Uint64(mac.Sum(nil))
}
