package steady

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestParse(t *testing.T) {
	t.Parallel()
	all, steal, err := parseStat([]byte("cpu  100 20 30 400 5 0 6 7 9 9\ncpu0 1 2 3\n"))
	if err != nil || all != 568 || steal != 7 {
		t.Errorf("all %d, steal %d, %v; want 568, 7", all, steal, err)
	}
	for _, text := range []string{"", "cpu 1 2 3", "cpu a b c d e f g h", "intr 1 2 3 4 5 6 7 8"} {
		if _, _, err := parseStat([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
	waited, err := parsePressure([]byte("some avg10=1.00 avg60=0.10 avg300=0.00 total=1234567\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"))
	if err != nil || waited != 1234567*time.Microsecond {
		t.Errorf("waited %v, %v", waited, err)
	}
	for _, text := range []string{"", "full total=1", "some total=x"} {
		if _, err := parsePressure([]byte(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}

func TestExceeded(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stall Stall
		want  bool
	}{
		{Stall{}, false},
		{Stall{Late: MaxLate, Steal: MaxSteal, Wait: 1}, false},
		{Stall{Late: MaxLate + 1}, true},
		{Stall{Steal: MaxSteal * 1.01}, true},
	} {
		if got := test.stall.Exceeded(); got != test.want {
			t.Errorf("%v: exceeded %v", test.stall, got)
		}
	}
	if text := (Stall{Late: 84 * time.Millisecond}).String(); !strings.HasPrefix(text, "a thread woke up 84ms late (limit 50ms), 0.0 %") {
		t.Error(text)
	}
}

// told notes what a test logs, and ends its goroutine where it fails.
type told struct {
	testing.TB
	lines []string
}

func (t *told) Log(args ...any) { t.lines = append(t.lines, fmt.Sprint(args...)) }

func (t *told) Fatalf(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
	runtime.Goexit()
}

func TestMeasure(t *testing.T) {
	t.Parallel()
	for saysNothing, want := range map[int][]string{
		0: nil,
		2: {AskedAgain + "late", AskedAgain + "late"},
		3: {AskedAgain + "late", AskedAgain + "late", "measured 3 times: late"},
	} {
		test, asks := &told{TB: t}, 0
		var done sync.WaitGroup
		done.Go(func() {
			Measure(test, func() string {
				if asks++; asks <= saysNothing {
					return "late"
				}
				return ""
			})
		})
		done.Wait()
		if !slices.Equal(test.lines, want) {
			t.Errorf("what says nothing %d times logs %q, want %q", saysNothing, test.lines, want)
		}
	}
}

// TestMain makes this program the one that is stopped in TestLate.
func TestMain(m *testing.M) {
	if os.Getenv("STEADY_WATCH") == "" {
		os.Exit(m.Run())
	}
	w, err := Start()
	if err == nil {
		fmt.Println("watching")
		_, err = io.ReadAll(os.Stdin) // until the test closes it
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	stall, err := w.Stop()
	fmt.Println(stall.Late.Milliseconds(), stall.Exceeded(), err)
}

// TestLate sees that a process stood still.
func TestLate(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STEADY_WATCH=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const stopped = 200 * time.Millisecond
	time.Sleep(stopped) // nothing to wait for: it is the stall
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	in.Close()
	lines.Scan()
	var late int64
	var exceeded bool
	if _, err := fmt.Sscan(lines.Text(), &late, &exceeded); err != nil {
		t.Fatalf("%q: %v", lines.Text(), err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	// It may have slept when it was stopped.
	if late < (stopped-2*period).Milliseconds() || !exceeded {
		t.Errorf("stopped for %v, it says %d ms late, exceeded %v", stopped, late, exceeded)
	}
}
