// Package rtnl reads complete answers of rtnetlink.
package rtnl

import (
	"errors"

	"github.com/vishvananda/netlink/nl"
)

// Complete calls list, which asks the kernel for all of a kind, until its answer is complete. Where devices come and go
// meanwhile the kernel says that its answer may lack some (NLM_F_DUMP_INTR, which list returns as ErrDumpInterrupted): then
// it is asked again, and the fifth answer is taken as it is. Other errors are returned as they are.
func Complete[T any](list func() ([]T, error)) ([]T, error) {
	const tries = 5
	var all []T
	for range tries {
		var err error
		if all, err = list(); !errors.Is(err, nl.ErrDumpInterrupted) {
			return all, err
		}
	}
	return all, nil
}
