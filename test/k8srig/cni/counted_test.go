package cni

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tracer/test/k8srig"
)

//go:embed counted.yaml
var countedYAML string

// maxCounts is how often packets are counted while the agent samples: then it tells their number by those that it took, and not within 1 %.
const maxCounts = 5

// counted compares what the agent counts of a pod's packets, from when the pod's device has its hooks, with what the pod's end of it counts
// (the node's misses what a program hands to the pod past it): of a pod that sends and gets small ones, and of one that gets large ones,
// which are one to the device and several on the wire, so that their number is not compared.
func (l *layout) counted(t *testing.T) {
	t.Helper()
	service := strings.TrimSpace(l.kubectl(t, "-n store get service api -o jsonpath={.spec.clusterIP}"))
	most := 0.0
	for _, kind := range []struct {
		name, do  string
		packetsIn bool
	}{
		{"datagrams", "exchange 4000 " + service + ":80", true},
		{"pages", "fetch 300 http://" + service + "/65536", false},
	} {
		l.startHooked(t, kind.name)
		// What passes before the agent knows the pod's name is nobody's.
		until(t, time.Minute, "name the "+kind.name, func() error {
			_, err := l.Kubectl("-n", "store", "exec", "deployment/"+kind.name, "--", "/app", "exchange", "3", service+":80")
			if err == nil && l.countsOf(t, kind.name).agent.packetsIn == 0 {
				err = errors.New("none is counted for it")
			}
			return err
		})
		for try := 1; ; try++ {
			before := l.settledCounts(t, kind.name)
			l.kubectl(t, "-n store exec deployment/"+kind.name+" -- /app "+kind.do)
			now := l.settledCounts(t, kind.name)
			agent, ours := now.agent.since(before.agent), now.device.since(before.device)
			if !kind.packetsIn {
				agent.packetsIn, ours.packetsIn = 0, 0
			}
			worst := max(apart(agent.packetsOut, ours.packetsOut), apart(agent.packetsIn, ours.packetsIn), apart(agent.bytesOut, ours.bytesOut), apart(agent.bytesIn, ours.bytesIn))
			text := fmt.Sprintf("%s: the agent counts %+v, the pod's device %+v: at most %.2f %% apart", kind.name, agent, ours, worst*100)
			if unsampled := now.unsampled - before.unsampled; unsampled > 0 && try < maxCounts {
				t.Logf("%s; counted again, as %.0f packets on the node were not sampled", text, unsampled)
				continue
			}
			if t.Log(text); worst > 0.01 {
				t.Errorf("%s: counts differ\n%s", kind.name, l.ownFigures(t))
			}
			most = max(most, worst)
			break
		}
		l.kubectl(t, "-n store delete deployment "+kind.name+" --wait=true")
	}
	l.apart = fmt.Sprintf("%.1f %%", most*100)
}

// settledCounts are a workload's counts once they stay as they are: what is in the agent's hands is counted when its names are known, and it may
// have to wait for a CPU.
func (l *layout) settledCounts(t *testing.T, workload string) (now podCounts) {
	t.Helper()
	until(t, time.Minute, "count the "+workload, func() error {
		before := l.countsOf(t, workload)
		time.Sleep(2 * time.Second)
		if now = l.countsOf(t, workload); now.agent != before.agent || now.device != before.device {
			return errors.New("packets are counted yet")
		}
		return nil
	})
	return now
}

// startHooked starts a pod on the callers' node, and waits until its device has the agent's hooks.
func (l *layout) startHooked(t *testing.T, name string) {
	t.Helper()
	n, before := l.nodes[0], map[int]bool{}
	for _, d := range devices(t, n) {
		before[d.Index] = true
	}
	l.apply(t, strings.ReplaceAll(countedYAML, "NAME", name))
	l.kubectl(t, "-n store rollout status deployment/"+name+" --timeout=300s")
	until(t, time.Minute, "hook the device of "+name, func() error {
		for _, d := range devices(t, n) {
			if before[d.Index] {
				continue
			}
			for attach, program := range map[uint32]string{tcxIngress: "tracer_ingress", tcxEgress: "tracer_egress"} {
				ids, err := attached(n, uint32(d.Index), attach)
				if err == nil && !slices.Contains(names(t, ids), program) {
					err = errors.New(d.Name + " has no " + program)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		return errors.New("it has no device")
	})
}

// trafficOf is what passed a pod's device, seen from the pod; bytes from the IP header on.
type trafficOf struct{ packetsOut, bytesOut, packetsIn, bytesIn float64 }

func (c trafficOf) since(old trafficOf) trafficOf {
	return trafficOf{c.packetsOut - old.packetsOut, c.bytesOut - old.bytesOut, c.packetsIn - old.packetsIn, c.bytesIn - old.bytesIn}
}

type podCounts struct {
	agent, device trafficOf
	unsampled     float64 // packets of the node that the agent did not look at
}

// countsOf is what the agent and the device have counted of a workload of one pod.
func (l *layout) countsOf(t *testing.T, workload string) (c podCounts) {
	t.Helper()
	m, err := l.metrics(l.nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	c.agent = trafficOf{
		m.sum("tracer_packets_total", "src_workload", workload), m.sum("tracer_bytes_total", "src_workload", workload),
		m.sum("tracer_packets_total", "dst_workload", workload), m.sum("tracer_bytes_total", "dst_workload", workload),
	}
	c.unsampled = m.sum("tracer_journeys_total", "outcome", "unsampled")
	c.device = deviceCounts(t, workload)
	return c
}

// ofPod is the content of a file below the /proc directory of a process of a workload's one pod.
func ofPod(t *testing.T, workload, file string) string {
	t.Helper()
	processes, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		environ, err := os.ReadFile(filepath.Join(p, "environ"))
		if err != nil || !strings.Contains("\x00"+string(environ), "\x00HOSTNAME="+workload+"-") {
			continue // or it has ended
		}
		if data, err := os.ReadFile(filepath.Join(p, file)); err == nil {
			return string(data)
		}
	}
	t.Fatalf("there is no pod of %s with %s", workload, file)
	return ""
}

// deviceCounts is what the device of a workload's one pod has counted, at the pod's end.
func deviceCounts(t *testing.T, workload string) trafficOf {
	t.Helper()
	for line := range strings.Lines(ofPod(t, workload, "net/dev")) {
		name, counts, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(counts); name == "eth0" && len(fields) == 16 {
			return podTraffic(t, fields)
		}
	}
	t.Fatalf("there is no device of a pod of %s", workload)
	return trafficOf{}
}

// nodeEnd is the number of the node's end of the device of a workload's one pod.
func nodeEnd(t *testing.T, workload string) int {
	t.Helper()
	index, err := strconv.Atoi(strings.TrimSpace(ofPod(t, workload, "root/sys/class/net/eth0/iflink")))
	if err != nil {
		t.Fatal(err)
	}
	return index
}

// podTraffic is what a pod's device has counted, out of its line of /proc/net/dev.
func podTraffic(t *testing.T, fields []string) trafficOf {
	t.Helper()
	number := func(i int) float64 {
		v, err := strconv.ParseFloat(fields[i], 64)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const ethernet, received, sent = 14, 0, 8 // bytes, then packets
	return trafficOf{
		number(sent + 1), number(sent) - ethernet*number(sent+1),
		number(received + 1), number(received) - ethernet*number(received+1),
	}
}

// ownFigures are the agent's about itself, that tell where a packet was lost from sight.
func (l *layout) ownFigures(t *testing.T) (text string) {
	t.Helper()
	m, err := l.metrics(l.nodes[0])
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(m)) {
		for _, name := range []string{"tracer_journeys_total", "tracer_records_lost_total", "tracer_identity", "tracer_sample", "tracer_bpf_recursion"} {
			if strings.HasPrefix(line, name) && !strings.HasSuffix(line, " 0\n") {
				text += line
			}
		}
	}
	return text
}

// apart is by which share of the second two counts differ.
func apart(a, b float64) float64 { return math.Abs(a-b) / max(b, 1) }

// metrics are an agent's, as it serves them.
type metrics string

func (c *cluster) metrics(n *k8srig.Node) (metrics, error) {
	client := http.Client{Timeout: 10 * time.Second}
	response, err := client.Get("http://" + n.Address + ":9435/metrics")
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return metrics(data), err
}

// sum is that of a metric's values, where a label has a value, if one is given.
func (m metrics) sum(name string, label ...string) (sum float64) {
	for line := range strings.Lines(string(m)) {
		rest, ok := strings.CutPrefix(line, name)
		if !ok || rest == "" || rest[0] != '{' && rest[0] != ' ' || len(label) > 0 && !strings.Contains(rest, label[0]+`="`+label[1]+`"`) {
			continue
		}
		fields := strings.Fields(rest)
		if v, err := strconv.ParseFloat(fields[len(fields)-1], 64); err == nil {
			sum += v
		}
	}
	return sum
}
