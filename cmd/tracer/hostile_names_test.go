package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"os"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/apiserver"
	"tracer/test/steady"
)

// hostileName sets a terminal's title, clears its screen, ends a Prometheus label and an HTML element, turns text around, begins a line
// of a log and a metric, is no UTF-8, and has ten thousand bytes.
func hostileName() string {
	return "evil\x1b]0;title\a\x1b[2J\x1b[31m\"} 1\ntracer_fake 1\r\nlevel=ERROR\u202e\u009b</td><script>alert(1)</script>\xff\x00" + strings.Repeat("x", 10_000)
}

// TestHostileNames has the application's pods, and the StatefulSets that own them, named so, and looks into all that comes out of an
// agent: tables, live view, journeys, metrics, log, files.
func TestHostileNames(t *testing.T) {
	t.Parallel()
	steady.Watch(t)
	l, err := lab.Up(t.Context(), lab.Options{
		Name: "names" + strconv.FormatInt(int64(os.Getpid()), 36), RunDir: t.TempDir(), Load: load.Config{Rate: 50, Size: 200, TCP: 50 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Down(); err != nil {
			t.Error(err)
		}
	})
	cluster := apiserver.New(func() (listener net.Listener, err error) {
		err = l.Node(1).Do(func() (err error) {
			listener, err = net.Listen("tcp", "127.0.0.1:6443")
			return err
		})
		return listener, err
	})
	if err := cluster.Come(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cluster.GoAway() })
	for _, p := range l.Pods() {
		cluster.SetPodOf(hostileName(), p.Name+hostileName(), p.Node, p.Address.String())
	}
	config, err := apiserver.Kubeconfig(t.TempDir(), "127.0.0.1:6443")
	if err != nil {
		t.Fatal(err)
	}
	run, state := t.TempDir(), t.TempDir()
	command := func(args ...string) *exec.Cmd { return tracer(append(args, "--run-dir", run)...) }
	agent := command("agent", "--state-dir", state, "--listen", "127.0.0.1:9435", "--health-listen", "127.0.0.1:9436", "--kubeconfig", config, "--node-name", "node1")
	var log bytes.Buffer
	agent.Stderr = &log
	if err := l.Node(1).Do(agent.Start); err != nil {
		t.Fatal(err)
	}
	stop := func() {
		_ = agent.Process.Signal(os.Interrupt)
		_ = agent.Wait()
	}
	t.Cleanup(stop)

	outputs := map[string]string{}
	scrape := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(_ context.Context, network, address string) (conn net.Conn, err error) {
		err = l.Node(1).Do(func() (err error) {
			conn, err = net.Dial(network, address)
			return err
		})
		return conn, err
	}}}
	for end := time.Now().Add(5 * time.Minute); !strings.Contains(outputs["metrics"], `_workload="evil`); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			stop() // and have the whole log
			t.Fatalf("the names do not come:\n%.3000s\n%s", outputs["metrics"], &log)
		}
		response, err := scrape.Get("http://127.0.0.1:9435/metrics")
		if err != nil {
			continue // not yet
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		outputs["metrics"] = string(text)
	}
	for _, args := range []string{
		"diagnose", "diagnose -o json", "top --once", "top --once --by flow", "top --once -o json", "trace --once 3", "trace --once 3 -o json", "check",
	} {
		cmd := command(strings.Fields(args)...)
		var out []byte
		err := l.Node(1).Do(func() (err error) {
			out, err = cmd.CombinedOutput()
			return err
		})
		if len(out) == 0 {
			t.Fatalf("%s says nothing: %v", args, err)
		}
		outputs[args] = string(out)
	}
	stop()
	outputs["log"] = log.String()
	files, err := filepath.Glob(filepath.Join(state, "*"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		outputs[name] = string(text)
	}
	seen := 0
	for what, text := range outputs {
		if strings.Contains(text, "evil") {
			seen++
		}
		if problem := harmful(text); problem != "" {
			t.Errorf("%s: %s", what, problem)
		}
		if strings.Contains(what, "json") {
			for line := range strings.Lines(text) {
				if what != "diagnose -o json" && !json.Valid([]byte(line)) && strings.HasPrefix(line, "{\"") {
					t.Errorf("%s: no JSON: %.300s", what, line)
				}
			}
		}
	}
	if seen < 6 {
		t.Errorf("the name is in %d outputs only", seen)
	}
}

// fakeLine is a line that the name would have begun.
var fakeLine = regexp.MustCompile(`(?m)^(tracer_fake|level=ERROR)`)

// longWord is a name that was not cut off.
var longWord = regexp.MustCompile(`x{300}`)

// harmful says what of a text could command a terminal, or is not as its format wants it.
func harmful(text string) string {
	if !utf8.ValidString(text) {
		return "it is no UTF-8"
	}
	for i, r := range text {
		if r != '\n' && r != '\t' && !unicode.IsPrint(r) {
			return fmt.Sprintf("character %U in %q", r, text[max(0, i-60):min(len(text), i+20)])
		}
	}
	if line := fakeLine.FindString(text); line != "" {
		return "a name begins a line: " + line
	}
	if longWord.MatchString(text) {
		return "a name is not cut off"
	}
	return ""
}
