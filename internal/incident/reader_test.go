package incident

import (
	"errors"
	"testing"
)

// TestReader: what has not changed is read once, what has grown is read again, and what was removed is gone.
func TestReader(t *testing.T) {
	t.Parallel()
	s := &Store{Dir: t.TempDir()}
	i := incidentOf(busy(5, 5, 4))
	if err := s.Begin(i, "nic"); err != nil {
		t.Fatal(err)
	}
	r := Reader{Store: s}
	first, err := r.Read("last")
	if err != nil || len(first.Frames) != len(i.Frames) {
		t.Fatalf("%v, %+v", err, first)
	}
	if again, err := r.Read(i.ID); err != nil || again != first {
		t.Errorf("it is read again: %v", err)
	}
	if err := s.AddFrame(i.ID, &i.Frames[0]); err != nil {
		t.Fatal(err)
	}
	grown, err := r.Read(i.ID)
	if err != nil || len(grown.Frames) != len(i.Frames)+1 || len(first.Frames) != len(i.Frames) {
		t.Errorf("grown: %v", err)
	}
	r.forget()
	if r.last != nil {
		t.Error("it is kept")
	}
	if _, err := r.Read("none"); !errors.Is(err, ErrNoIncident) {
		t.Errorf("%v", err)
	}
}
