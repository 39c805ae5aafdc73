// Package netfilter reads, without nft or iptables, which rules of a network namespace can lose packets, and what they have
// counted. It knows nftables, iptables in it, the old iptables, and the queues to user space.
package netfilter

import (
	"errors"
	"time"

	"github.com/vishvananda/netns"

	"tracer/internal/namespace"
	"tracer/internal/record"
)

const (
	// maxRules bounds the rules of all kinds that are gone through: some times as many as kube-proxy makes of a big cluster.
	maxRules = 100_000
	// socketTimeout bounds how long the kernel may take for a part of its answer.
	socketTimeout = 2 * time.Second
)

// Reading is what the rules had counted at one time.
type Reading struct {
	Taken time.Time
	Took  time.Duration
	Rules []record.Rule // that can lose packets
	// Partial tells that some could not be read.
	Partial bool
	// Queues are the queues to user space that somebody listens at.
	Queues []record.NFQueue
}

// Read reads a network namespace's rules. With an error it returns those that could be read all the same.
func Read(ns netns.NsHandle) (*Reading, error) {
	r := &Reading{Taken: time.Now()}
	err := namespace.Do(ns, func() error {
		var errs []error
		add := func(rules []record.Rule, err error) {
			r.Rules = append(r.Rules, rules...)
			errs = append(errs, err)
		}
		add(readNftables(maxRules))
		add(readLegacy(&legacy4, maxRules))
		add(readLegacy(&legacy6, maxRules))
		var err error
		r.Queues, err = readQueues()
		return errors.Join(append(errs, err)...)
	})
	for i := range r.Rules {
		for _, name := range []*string{&r.Rules[i].Table, &r.Rules[i].Chain, &r.Rules[i].Map, &r.Rules[i].VerdictMap, &r.Rules[i].Comment} {
			*name = record.Printable(*name)
		}
	}
	r.Took, r.Partial = time.Since(r.Taken), err != nil
	return r, err
}

// Since are the rules with what they have counted since an earlier reading. One that was not there is new, and has counted all of it
// since, unless it may have been there and not been read.
func (r *Reading) Since(before *Reading) []record.Rule {
	old := make(map[string]uint64, len(before.Rules))
	for i := range before.Rules {
		old[before.Rules[i].Key()] = before.Rules[i].Packets
	}
	rules := make([]record.Rule, len(r.Rules))
	for i, rule := range r.Rules {
		then, known := old[rule.Key()]
		switch {
		case !known && before.Partial:
			then = rule.Packets
		case !known, then > rule.Packets:
			then = 0 // made, or set to zero, meanwhile
		}
		rule.Packets -= then
		rules[i] = rule
	}
	return rules
}
