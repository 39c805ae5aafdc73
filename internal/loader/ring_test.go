package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
)

// fakeRing is a ring without a kernel, whose data are so many bytes.
type fakeRing struct {
	ring
	end uint64
}

func newFakeRing(size int, start uint64) *fakeRing {
	f := &fakeRing{end: start}
	f.page, f.wake = os.Getpagesize(), -1
	f.consumed, f.produced = make([]byte, f.page), make([]byte, f.page+size)
	binary.NativeEndian.PutUint64(f.consumed, start)
	binary.NativeEndian.PutUint64(f.produced, start)
	return f
}

// put writes a record as the kernel does.
func (f *fakeRing) put(text string, bits uint32) {
	data := f.produced[f.page:]
	at := func(i uint64) *byte { return &data[(f.end+i)%uint64(len(data))] }
	header := binary.NativeEndian.AppendUint64(nil, uint64(uint32(len(text))|bits))
	for i, b := range append(header, text...) {
		*at(uint64(i)) = b
	}
	f.end += uint64(ringHeader+len(text)+7) &^ 7
	binary.NativeEndian.PutUint64(f.produced, f.end)
}

func (f *fakeRing) take(t *testing.T, most int) (got []string) {
	t.Helper()
	if err := f.read(func(raw []byte) bool { got = append(got, string(raw)); return len(got) < most }); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestRing(t *testing.T) {
	t.Parallel()
	f := newFakeRing(256, 40)
	if got := f.take(t, 9); got != nil {
		t.Errorf("%q is in an empty ring", got)
	}
	f.put("one", 0)
	f.put("thrown away", ringDiscard)
	f.put("two and more", 0)
	f.put("three", 0)
	if got, want := f.take(t, 2), []string{"one", "two and more"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	busy := f.end
	f.put("under way", ringBusy)
	f.put("behind it", 0)
	for _, want := range [][]string{{"three"}, nil} {
		if got := f.take(t, 9); !slices.Equal(got, want) {
			t.Errorf("%q, want %q", got, want)
		}
	}
	f.produced[f.page+int(busy)+3] = 0 // committed
	if got, want := f.take(t, 9), []string{"under way", "behind it"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	// Many times around, in pieces that end everywhere.
	for i := range 500 {
		want := fmt.Sprintf("%0*d", 1+i%200, i)
		f.put(want, 0)
		if got := f.take(t, 9); len(got) != 1 || got[0] != want {
			t.Fatalf("%q, want %q", got, want)
		}
	}
	if read := binary.NativeEndian.Uint64(f.consumed); read != f.end {
		t.Errorf("the reader is at %d, want %d", read, f.end)
	}
	f.consumed = nil
	if err := f.read(nil); !errors.Is(err, errRingClosed) {
		t.Errorf("closed: %v", err)
	}
}
