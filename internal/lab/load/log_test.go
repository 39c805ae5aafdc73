package load

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestLogRoundTrip(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	l, err := createLog(path, logBytes)
	if err != nil {
		t.Fatal(err)
	}
	want := []Entry{
		{Seq: 1, Sent: 10, Port: 65535},
		{Seq: 2, Sent: 20, Arrived: 24, Received: 25, Delay: 5},
		{Seq: 3, Sent: 30, Received: 37, Delay: 7, RoundTrip: 9},
		{Seq: 4, Sent: 1000, Received: 40, Delay: -960, RoundTrip: 9}, // sent by a clock that is ahead
	}
	for _, e := range want {
		l.Append(e)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLog(path, 0)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("ReadLog = %v, %v; want %v", got, err, want)
	}
	got, err = ReadLog(path, 20)
	if err != nil || !slices.Equal(got, want[1:]) {
		t.Errorf("ReadLog from 20 = %v, %v; want %v", got, err, want[1:])
	}
}

func TestLogStaysBounded(t *testing.T) {
	t.Parallel()
	const max, count = 2000, 1000
	path := filepath.Join(t.TempDir(), "log")
	l, err := createLog(path, max)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(count) {
		l.Append(Entry{Seq: i, Sent: time.Duration(i)})
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path, path + ".1"} {
		if info, err := os.Stat(p); err != nil || info.Size() > max {
			t.Errorf("%s: %v, %v; want at most %d bytes", p, info.Size(), err, max)
		}
	}
	got, err := ReadLog(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) < max/50 || got[len(got)-1].Seq != count-1 {
		t.Fatalf("kept %d entries up to %v, want the newest", len(got), got[len(got)-1])
	}
	for i := 1; i < len(got); i++ {
		if got[i].Seq != got[i-1].Seq+1 {
			t.Fatalf("entry %d follows %d", got[i].Seq, got[i-1].Seq)
		}
	}
}

func TestReadLogHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte("{\"seq\":1,\"sent_ns\":5}\n{\"seq\":2,\"se"), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadLog(path, 0)
	if err != nil || len(got) != 1 || got[0].Seq != 1 {
		t.Errorf("ReadLog = %v, %v; want the whole line alone", got, err)
	}
	if got, err := ReadLog(path+"-absent", 0); err != nil || len(got) != 0 {
		t.Errorf("ReadLog of no file = %v, %v; want nothing", got, err)
	}
	if err := os.WriteFile(path, []byte("not json\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadLog(path, 0); err == nil {
		t.Error("ReadLog took a line that is no JSON")
	}
}
