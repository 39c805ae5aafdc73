package rtnl

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	interrupted := fmt.Errorf("list devices: %w", nl.ErrDumpInterrupted)
	refused := errors.New("operation not permitted")
	for name, test := range map[string]struct {
		answers []error
		want    int // the number of the answer that is taken
		err     error
	}{
		"at once":          {[]error{nil}, 1, nil},
		"after changes":    {[]error{interrupted, interrupted, nil}, 3, nil},
		"always changing":  {slices.Repeat([]error{interrupted}, 9), 5, nil},
		"refused":          {[]error{refused, nil}, 1, refused},
		"refused later on": {[]error{interrupted, refused, nil}, 2, refused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			got, err := Complete(func() ([]int, error) {
				asked++
				return []int{asked}, test.answers[asked-1]
			})
			if !slices.Equal(got, []int{test.want}) || !errors.Is(err, test.err) {
				t.Errorf("answer %v, %v, want number %d, %v", got, err, test.want, test.err)
			}
		})
	}
}
