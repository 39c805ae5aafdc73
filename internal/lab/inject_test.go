package lab

import (
	"context"
	"encoding/json"
	"math"
	"os/exec"
	"strings"
	"testing"
	"time"

	"tracer/internal/lab/load"
)

// A tbf's delay and loss follow from the load alone, so the application must see what was wished.
func TestFaultTBF(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		load  load.Config
		fault Fault
		way   func(Report) OneWay
	}{
		"100 ms on the overlay": {
			load.Config{Rate: 400, Size: 100, TCP: 100 * time.Millisecond},
			Fault{Delay: 100 * time.Millisecond, Loss: 0.2},
			func(r Report) OneWay { return r.Request },
		},
		"500 ms on the overlay": {
			load.Config{Rate: 200, Size: 100, TCP: 100 * time.Millisecond},
			Fault{Delay: 500 * time.Millisecond, Loss: 0.2},
			func(r Report) OneWay { return r.Request },
		},
		"200 ms on the answers' uplink": {
			load.Config{Rate: 400, Size: 300},
			Fault{Node: "node2", Device: UplinkDevice, Delay: 200 * time.Millisecond, Loss: 0.3},
			func(r Report) OneWay { return r.Response },
		},
		"200 ms in front of a pod": {
			load.Config{Rate: 400, Size: 200, TCP: 100 * time.Millisecond},
			Fault{Device: "pod:" + API, Delay: 200 * time.Millisecond, Loss: 0.3},
			func(r Report) OneWay { return r.Request },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := testOptions(t)
			o.Load = test.load
			l := up(t, o)
			test.fault.Tool = TBF
			done, err := l.Fault(test.fault)
			if err != nil {
				t.Fatal(err)
			}
			// The queue has to fill first, and a busy machine may hold the sender up: but with the load steady for a
			// while, delay and loss are there.
			want := test.fault.Delay.Seconds()
			var w OneWay
			ctx, cancel := context.WithTimeout(context.Background(), 40*time.Second)
			defer cancel()
			err = poll(ctx, func() (bool, error) {
				r, err := l.Recent(2*time.Second, load.Monotonic())
				w = test.way(r)
				return w.Received > 100 && math.Abs(w.Delay.P50-want) < 0.15*want &&
					math.Abs(w.LossRatio-test.fault.Loss) < 0.05, err
			})
			if err != nil {
				t.Fatalf("%v: %+v, want delay %v and loss %v (expected %+v)", err, w, want, test.fault.Loss, done.Expected)
			}
			if math.Abs(done.Expected.Delay-want) > 0.1*want || math.Abs(done.Expected.Loss-test.fault.Loss) > 0.01 {
				t.Errorf("expected %+v, want delay %v and loss %v", done.Expected, want, test.fault.Loss)
			}
			if err := l.Heal(); err != nil {
				t.Fatal(err)
			}
			waitUntil(t, 10*time.Second, "health", func() (bool, error) {
				r, err := l.Recent(500*time.Millisecond, load.Monotonic())
				w := test.way(r)
				return w.Received > 50 && w.Lost == 0 && w.Delay.P50 < 0.02, err
			})
		})
	}
}

// A person who types the printed commands gets the fault that the lab makes.
func TestFaultCommandsAreTheFault(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Overlay = VXLAN // whose headers the default load is made for
	l := up(t, o)
	node := l.Node(1)
	show := func() string {
		t.Helper()
		out, err := exec.Command("ip", "netns", "exec", string(node.Netns), "tc", "-j", "qdisc", "show", "dev", l.OverlayDevice()).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	run := func(command string) {
		t.Helper()
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	faults := []Fault{
		{Delay: 500 * time.Millisecond, Loss: 0.1, Tool: TBF},
		{Delay: 500 * time.Millisecond, Rate: 50_000, Loss: 0.1, Tool: TBF}, // the story's
		{Rate: 12_345, Limit: 77_777, Tool: TBF},
	}
	has, err := l.st.hasNetem()
	if err != nil {
		t.Fatal(err)
	}
	if has {
		faults = append(faults, Fault{Delay: 500 * time.Millisecond, Rate: 50_000, Loss: 0.1})
	}
	for _, f := range faults {
		done, err := l.Fault(f)
		if err != nil {
			t.Fatal(err)
		}
		byLab := show()
		if _, err := l.Fault(f); err == nil {
			t.Error("a second fault was put onto the same device")
		}
		if err := l.Heal(); err != nil {
			t.Fatal(err)
		}
		healthy := show()
		if !strings.Contains(byLab, `"`+done.Tool+`"`) || strings.Contains(healthy, `"`+done.Tool+`"`) {
			t.Fatalf("with the fault %s, healed %s", byLab, healthy)
		}
		for _, c := range done.Commands {
			run(c)
		}
		if byHand := show(); qdiscOptions(t, byHand) != qdiscOptions(t, byLab) {
			t.Errorf("by hand %s, by the lab %s", byHand, byLab)
		}
		for _, c := range done.Undo {
			run(c)
		}
		if undone := show(); undone != healthy {
			t.Errorf("undone by hand %s, want %s", undone, healthy)
		}
	}
}

// qdiscOptions takes what was set out of tc's JSON, and leaves the counters.
func qdiscOptions(t *testing.T, tc string) string {
	t.Helper()
	var qdiscs []struct {
		Kind, Handle string
		Options      map[string]any
	}
	if err := json.Unmarshal([]byte(tc), &qdiscs); err != nil {
		t.Fatal(err)
	}
	for _, q := range qdiscs {
		delete(q.Options, "direct_packets_stat")       // a counter of htb's
		if lat, ok := q.Options["lat"].(float64); ok { // tc's reckoning, of which the last microsecond is rounding
			q.Options["lat"] = math.Round(lat / 1000)
		}
	}
	out, err := json.Marshal(qdiscs)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// A queue of 50 kbit/s under more load than that holds packets ever longer.
func TestFaultRateAlone(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Load = load.Config{Rate: 400, Size: 90}
	l := up(t, o)
	done, err := l.Fault(Fault{Rate: 50_000, Delay: 20 * time.Second, Tool: TBF})
	if err != nil {
		t.Fatal(err)
	}
	if done.Delay < 20 || done.Delay > 21 {
		t.Errorf("the queue holds %.1f s, want 20 (limit %d)", done.Delay, done.Limit)
	}
	waitUntil(t, 20*time.Second, "packets to wait for seconds", func() (bool, error) {
		r, err := l.Recent(300*time.Millisecond, load.Monotonic())
		return r.Request.Delay.P50 > 2, err
	})
	r, err := l.Oracle(load.Monotonic()-time.Second, load.Monotonic())
	if err != nil || r.Request.Pending < 100 || r.Request.LossRatio != 0 {
		t.Errorf("the last second's requests: %+v, %v; want them to be pending", r.Request, err)
	}
}

// Netem's tree must be whole where the kernel has it, and leave nothing of itself where it has not.
func TestFaultNetem(t *testing.T) {
	t.Parallel()
	l := up(t, testOptions(t))
	has, err := l.st.hasNetem()
	if err != nil {
		t.Fatal(err)
	}
	want := Fault{Delay: 200 * time.Millisecond, Loss: 0.1, Tool: Netem}
	_, err = l.Fault(want)
	kind, kindErr := rootQdisc(l.Node(1).Netns, l.OverlayDevice())
	if kindErr != nil {
		t.Fatal(kindErr)
	}
	if !has {
		faults, readErr := l.Faults()
		if err == nil || kind != "noqueue" || len(faults) != 0 || readErr != nil {
			t.Errorf("Fault = %v, root qdisc %s, in force %v, %v; want nothing done", err, kind, faults, readErr)
		}
		return
	}
	if err != nil || kind != "htb" {
		t.Fatalf("Fault = %v, root qdisc %s", err, kind)
	}
	waitUntil(t, 10*time.Second, "delay and loss", func() (bool, error) {
		r, err := l.Recent(2*time.Second, load.Monotonic())
		return math.Abs(r.Request.Delay.P50-0.2) < 0.03 && r.Request.Lost > 0 && r.Response.Delay.P50 < 0.02, err
	})
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	if kind, err := rootQdisc(l.Node(1).Netns, l.OverlayDevice()); err != nil || kind != "noqueue" {
		t.Errorf("healed: root qdisc %s, %v", kind, err)
	}
}

func TestClassifyByEitherTool(t *testing.T) {
	t.Parallel()
	o := testOptions(t)
	o.Load = load.Config{Rate: 1, Size: 90}
	l := up(t, o)
	node := l.Node(1)
	rules := func() string {
		t.Helper()
		out, err := exec.Command("ip", "netns", "exec", string(node.Netns), "nft", "list", "ruleset").CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for _, how := range []string{byIptables, byNftables} {
		for range 2 { // a second fault on the node finds the marks there
			if err := l.st.classify(&node, how); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
		}
		if got := strings.Count(rules(), "meta priority set 10:10"); got != len(classified) {
			t.Errorf("%s: %d rules, want %d:\n%s", how, got, len(classified), rules())
		}
		for range 2 {
			if err := l.st.unclassify(&node, how); err != nil {
				t.Fatalf("%s: %v", how, err)
			}
		}
		if strings.Contains(rules(), "10:10") {
			t.Errorf("%s: left behind:\n%s", how, rules())
		}
	}
}
