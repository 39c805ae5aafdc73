package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mirror serves one package. The first half of it comes, and then nothing.
type mirror struct {
	content []byte
	mu      sync.Mutex
	answers []string // to who asked for the package: which bytes; "" for all
}

var published = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func (m *mirror) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch path.Base(r.URL.Path) {
	case "Packages":
		index := fmt.Sprintf("Package: big\nVersion: 1:1\nArchitecture: all\nFilename: big_1_all.deb\nSize: %d\nSHA256: %x\n",
			len(m.content), sha256.Sum256(m.content))
		http.ServeContent(w, r, "", published, strings.NewReader(index))
	case "big_1_all.deb":
		m.mu.Lock()
		i := len(m.answers)
		m.answers = append(m.answers, "")
		m.mu.Unlock()
		if i == 0 {
			w.Header().Set("Content-Length", fmt.Sprint(len(m.content)))
			w.Header().Set("Last-Modified", published.Format(http.TimeFormat))
			_, _ = w.Write(m.content[:len(m.content)/2])
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
			return
		}
		http.ServeContent(w, r, "", published, bytes.NewReader(m.content))
		m.mu.Lock()
		m.answers[i] = w.Header().Get("Content-Range")
		m.mu.Unlock()
	default:
		http.NotFound(w, r)
	}
}

// TestFetchPackages is interrupted in the middle of a package: the next run goes on there, and the one after it has nothing to fetch.
func TestFetchPackages(t *testing.T) {
	t.Parallel()
	m := &mirror{content: bytes.Repeat([]byte("a package that is not one\n"), 100_000)}
	server := httptest.NewServer(m)
	defer server.Close()
	a := emptyApt(t.TempDir(), "amd64")
	a.options = append(a.options, "-o", "Acquire::http::Proxy=DIRECT", "-o", "Acquire::Retries=0")
	if err := a.update(t.Context(), fmt.Sprintf("deb [trusted=yes] %s ./\n", server.URL)); err != nil {
		t.Fatal(err)
	}
	fetch := func(ctx context.Context) (string, error) {
		args := append([]string{a.dir}, a.options...)
		return output(ctx, "", "../../hack/fetch-packages", append(args, "download", "big")...)
	}
	const name = "big_1%3a1_all.deb"
	half := len(m.content) / 2
	ctx, interrupt := context.WithCancel(t.Context())
	go func() {
		defer interrupt()
		for ctx.Err() == nil {
			if info, err := os.Stat(filepath.Join(a.dir, name+".part")); err == nil && info.Size() == int64(half) {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if out, err := fetch(ctx); err == nil {
		t.Fatalf("half a package was taken for one: %s", out)
	}
	for range 2 {
		if out, err := fetch(t.Context()); err != nil || out != name+"\n" {
			t.Fatalf("%q, %v", out, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(a.dir, name)); err != nil || !bytes.Equal(got, m.content) {
		t.Errorf("%d bytes came: %v", len(got), err)
	}
	server.Close() // and all answers are given
	if want := []string{"", fmt.Sprintf("bytes %d-%d/%d", half, len(m.content)-1, len(m.content))}; !slices.Equal(m.answers, want) {
		t.Errorf("answered with %q, want %q", m.answers, want)
	}
}

// TestAptGet waits while another apt holds the lock.
func TestAptGet(t *testing.T) {
	t.Parallel()
	a := emptyApt(t.TempDir(), "amd64")
	if err := a.update(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(a.dir, "state/lists/lock"), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := syscall.FcntlFlock(lock.Fd(), syscall.F_SETLK, &syscall.Flock_t{Type: syscall.F_WRLCK}); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "../../hack/apt-get", append(a.options, "-q", "update")...)
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := bufio.NewReader(stderr)
	if line, err := said.ReadString('\n'); err != nil || !strings.HasPrefix(line, "waiting: Could not get lock "+lock.Name()) {
		t.Errorf("said %q, %v", line, err)
	}
	lock.Close() // and with it the lock
	rest, err := io.ReadAll(said)
	if err := errors.Join(err, cmd.Wait()); err != nil {
		t.Errorf("%v: %s", err, rest)
	}
}
