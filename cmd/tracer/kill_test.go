package main

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/export/api"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/loader"
	"tracer/test/apiserver"
	"tracer/test/steady"
)

// kills is how many agents TestKilled kills.
var kills = flag.Int("kills", 0, "how many agents TestKilled kills in all (0: 50, and 5 in a guest)")

// TestKilled kills agents by SIGKILL at random moments, under load, and looks what they leave: nothing lost, nothing left, all
// that was known is known again.
func TestKilled(t *testing.T) {
	t.Parallel()
	features, err := loader.ProbeFeatures()
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range []way{{"TCX", true, false}, {"clsact", false, false}, {"clsact of others", false, true}} {
		if w.tcx && !features.TCX {
			continue
		}
		t.Run(w.name, func(t *testing.T) { t.Parallel(); killAgents(t, w) })
	}
}

// way is how agents attach.
type way struct {
	name string
	tcx  bool
	// others tells that the devices have a clsact qdisc of another program. Else making and deleting it loses packets: the kernel
	// stops the device's queues for that, whoever asks.
	others bool
}

// killing is a node whose agents are killed.
type killing struct {
	*testing.T
	way
	lab        *lab.Lab
	cluster    *apiserver.Server
	run, state string
	kubeconfig string
	random     *rand.Rand
	before     string // queues and filters of the node before there was an agent
	links      int    // devices made

	toHooks, toReady, toEnd time.Duration // how long an agent took to its first hook, until it answered, and to end
	left                    bpfObjects    // of killed agents, which need not be gone before the next sweep

	counted                     time.Duration // CLOCK_MONOTONIC; what the load sent until then is in the counts below
	sent, received, lost, calls int
}

// moments are when agents are killed: each waits for its own.
var moments = []struct {
	name string
	wait func(*killing, *killedAgent)
}{
	{"start", func(k *killing, _ *killedAgent) { k.sleep(k.toHooks) }},
	{"attach", func(k *killing, a *killedAgent) {
		a.untilHooked()
		k.sleep(k.toReady - k.toHooks)
	}},
	{"new device", func(k *killing, a *killedAgent) {
		a.untilReady()
		k.addDevice()
		k.sleep(50 * time.Millisecond)
	}},
	{"steady", func(k *killing, a *killedAgent) {
		a.untilReady()
		k.sleep(300 * time.Millisecond)
	}},
	{"detach", func(k *killing, a *killedAgent) {
		a.untilReady()
		if err := a.command.Process.Signal(unix.SIGTERM); err != nil {
			k.Fatal(err)
		}
		k.sleep(k.toEnd)
	}},
}

func killAgents(t *testing.T, w way) {
	steady.Watch(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	k := &killing{T: t, way: w, run: t.TempDir(), state: t.TempDir(), random: rand.New(rand.NewPCG(seed, 0))}
	var err error
	k.lab, err = lab.Up(t.Context(), lab.Options{
		Name: fmt.Sprintf("kill%d%s", len(w.name), strconv.FormatInt(int64(os.Getpid()), 36)), RunDir: t.TempDir(),
		Load: load.Config{Rate: 200, Size: 200, TCP: 20 * time.Millisecond},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := k.lab.Down(); err != nil {
			t.Error(err)
		}
	})
	k.cluster = apiserver.New(func() (listener net.Listener, err error) {
		err = k.lab.Node(1).Do(func() (err error) {
			listener, err = net.Listen("tcp", "127.0.0.1:6443")
			return err
		})
		return listener, err
	})
	if err := k.cluster.Come(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.cluster.GoAway() })
	for _, p := range k.lab.Pods() {
		k.cluster.SetPod(p.PodName, p.Node, p.Address.String())
	}
	if k.kubeconfig, err = apiserver.Kubeconfig(t.TempDir(), "127.0.0.1:6443"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(k.state, "usual.json"), []byte(`{"version":1,"places":[`+learnt+`]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if w.others {
		for _, device := range []string{"eth0", k.lab.OverlayDevice(), k.lab.Pods()[0].Device} {
			k.tc("qdisc", "add", "dev", device, "clsact")
		}
	}
	k.before = k.queuesAndFilters()
	unread := k.unread()
	k.counted = load.Monotonic()
	k.rehearse()
	all := *kills
	if all == 0 && steady.InGuest() {
		all = len(moments)
	} else if all == 0 {
		all = 50
	}
	n := (all + 2) / 3 // of the three ways
	ended := map[string]int{}
	for i := range n {
		moment := moments[i%len(moments)]
		agent := k.start()
		moment.wait(k, agent)
		if agent.kill(k.random.IntN(2) == 0) {
			ended[moment.name]++
		}
		if k.checkLeft(moment.name); k.Failed() {
			k.Fatalf("kill %d, at %s; the agent said:\n%s", i, moment.name, &agent.log)
		}
		if i%2 == 0 {
			k.checkClean()
		}
		if until := load.Monotonic() - time.Second; until-k.counted > time.Minute { // before the load writes over what it noted of the first ones
			k.countLoad(until, false)
		}
	}
	k.checkKnown()
	k.countLoad(load.Monotonic(), true)
	k.checkLoad(unread)
	t.Logf("%d agents killed (of them, %v had ended by themselves); hooked after %v, ready after %v, ended after %v", n, ended,
		k.toHooks.Round(time.Millisecond), k.toReady.Round(time.Millisecond), k.toEnd.Round(time.Millisecond))
}

// learnt is a place of the learned baseline, as it is saved.
const learnt = `{"stage":"queue","device":"kept","direction":"out","p50_seconds":0.001,"minutes":60,"last":"2100-01-01T00:00:00Z"}`

// rehearse lets an agent live and end, and takes the time.
func (k *killing) rehearse() {
	began := time.Now()
	agent := k.start()
	agent.untilHooked()
	k.toHooks = time.Since(began)
	agent.untilReady()
	k.toReady = time.Since(began)
	k.awaitNames()
	k.end(agent)
	k.checkClean()
}

// awaitNames waits until the names are saved.
func (k *killing) awaitNames() {
	for end := time.Now().Add(5 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(k.state, "identities.json")); err == nil {
			return
		} else if time.Now().After(end) {
			k.Fatal(err)
		}
	}
}

func (k *killing) sleep(atMost time.Duration) {
	time.Sleep(time.Duration(k.random.Int64N(int64(max(atMost, time.Millisecond)))))
}

// addDevice adds a pod's device, which an agent attaches to, and removes the one before.
func (k *killing) addDevice() {
	k.ip("link", "add", fmt.Sprintf("calik%d", k.links), "type", "veth", "peer", "name", "peer"+strconv.Itoa(k.links))
	k.ip("link", "set", fmt.Sprintf("calik%d", k.links), "up")
	k.links++
}

func (k *killing) removeDevices() {
	for k.links > 0 {
		k.links--
		k.ip("link", "del", fmt.Sprintf("calik%d", k.links))
	}
}

func (k *killing) ip(args ...string) {
	k.Helper()
	args = append([]string{"-n", string(k.lab.Node(1).Netns)}, args...)
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		k.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// end ends an agent as it should be.
func (k *killing) end(agent *killedAgent) {
	k.Helper()
	began := time.Now()
	if err := agent.command.Process.Signal(unix.SIGTERM); err != nil {
		k.Fatal(err)
	}
	if err := agent.command.Wait(); err != nil {
		k.Fatalf("%v: %s", err, &agent.log)
	}
	k.toEnd = time.Since(began)
	agent.checkLog()
}

// checkKnown starts an agent without the API server, which must have the names and what was learned.
func (k *killing) checkKnown() {
	k.Helper()
	if err := k.cluster.GoAway(); err != nil {
		k.Fatal(err)
	}
	agent := k.start()
	agent.untilReady()
	client := api.Dial(filepath.Join(k.run, "agent.sock"))
	defer client.Close()
	status, err := client.Status(k.Context())
	if err != nil || status.Identity == nil || !status.Identity.Stale {
		k.Errorf("the names of before are not there: %+v, %v", status.Identity, err)
	}
	k.end(agent)
	k.checkState()
	k.checkClean()
	if left, err := os.ReadDir(k.state); err != nil || len(left) != 2 {
		k.Errorf("files in the state directory: %v, %v; want the names and the baseline", left, err)
	}
}

// unread is how many packets found a full socket in the pods: the load itself had no CPU to read them.
func (k *killing) unread() (packets int) {
	k.Helper()
	for _, p := range k.lab.Pods() {
		err := p.Do(func() error {
			text, err := os.ReadFile("/proc/thread-self/net/snmp")
			var names []string
			for line := range strings.Lines(string(text)) {
				fields := strings.Fields(line)
				if fields[0] == "Udp:" && names == nil {
					names = fields
				} else if i := slices.Index(names, "RcvbufErrors"); fields[0] == "Udp:" && i > 0 {
					n, _ := strconv.Atoi(fields[i])
					packets += n
				}
			}
			return err
		})
		if err != nil {
			k.Fatal(err)
		}
	}
	return packets
}

// countLoad asks the load which of its packets arrived at its sockets, of those that were sent until a time and are not counted yet;
// before the last time only if it is known of all.
func (k *killing) countLoad(until time.Duration, last bool) {
	k.Helper()
	report, err := k.lab.Oracle(k.counted, until)
	if err != nil {
		k.Fatal(err)
	}
	if !last && report.Request.Pending+report.Response.Pending > 0 {
		return
	}
	k.counted = until
	for _, way := range []lab.OneWay{report.Request, report.Response} {
		k.sent += way.Sent
		k.received += way.Received
		k.lost += way.Lost
	}
	k.calls += report.TCP.Count
}

// checkLoad judges what was counted.
func (k *killing) checkLoad(unreadBefore int) {
	k.Helper()
	unread := k.unread() - unreadBefore
	lost := k.lost - unread
	k.Logf("%d packets over UDP, %d lost, %d not read in time; %d calls over TCP", k.sent, lost, unread, k.calls)
	makesQdiscs := !k.tcx && !k.others
	if k.received == 0 || lost > 0 && !makesQdiscs || lost > k.sent/20 {
		k.Errorf("of %d packets %d are lost", k.sent, lost)
	}
}

// killedAgent is an agent that is to be killed.
type killedAgent struct {
	*killing
	command *exec.Cmd
	log     bytes.Buffer // to be read once it has ended
}

func (k *killing) start() *killedAgent {
	k.Helper()
	a := &killedAgent{killing: k}
	a.command = tracer("agent", "--run-dir", k.run, "--state-dir", k.state, "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0",
		"--kubeconfig", k.kubeconfig, "--node-name", "node1")
	if !k.tcx {
		a.command.Env = append(a.command.Env, withoutTCXEnv+"=1")
	}
	a.command.Stderr = &a.log
	if err := k.lab.Node(1).Do(a.command.Start); err != nil {
		k.Fatal(err)
	}
	k.Cleanup(func() {
		_ = a.command.Process.Kill() // if the test failed
		_ = a.command.Wait()
	})
	return a
}

// untilHooked waits until the agent has attached something.
func (a *killedAgent) untilHooked() {
	a.Helper()
	a.await("attaches nothing", func() bool { return len(heldBy(a.command.Process.Pid).links) > 0 })
}

// untilReady waits until it answers.
func (a *killedAgent) untilReady() {
	a.Helper()
	a.await("does not answer", func() bool {
		conn, err := net.Dial("unix", filepath.Join(a.run, "agent.sock"))
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

func (a *killedAgent) await(what string, done func() bool) {
	a.Helper()
	for end := time.Now().Add(5 * time.Minute); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			a.Fatalf("the agent %s", what)
		}
	}
}

// kill kills it, and tells whether it had ended before. What it held is looked up just before that, or while it stands still,
// so that nothing is missed.
func (a *killedAgent) kill(stopped bool) (ended bool) {
	a.Helper()
	pid := a.command.Process.Pid
	if stopped {
		_ = a.command.Process.Signal(unix.SIGSTOP) // it may have ended
		a.await("does not stop", func() bool { return stands(pid) })
	}
	a.left.add(heldBy(pid))
	_ = a.command.Process.Kill()
	err := a.command.Wait()
	a.checkLog()
	return err == nil
}

// checkLog looks for what an agent must not say.
func (a *killedAgent) checkLog() {
	a.Helper()
	for _, bad := range []string{"level=ERROR", "set aside", "are ignored", "panic"} {
		if strings.Contains(a.log.String(), bad) {
			a.Errorf("the agent says %q:\n%s", bad, &a.log)
		}
	}
}
