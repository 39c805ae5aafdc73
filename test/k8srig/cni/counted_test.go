package cni

import (
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
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

// counted compares what the agent counts of a pod's packets, from when the pod's device has its hooks, with what the device counts: of a pod
// that sends and gets small ones, and of one that gets large ones, which are one to the device and several on the wire, so that their
// number is not compared.
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
		device := l.startHooked(t, kind.name)
		// What passes before the agent knows the pod's name is nobody's.
		until(t, time.Minute, "name the "+kind.name, func() error {
			_, err := l.Kubectl("-n", "store", "exec", "deployment/"+kind.name, "--", "/app", "exchange", "3", service+":80")
			if err == nil && l.countsOf(t, kind.name, device).agent.packetsIn == 0 {
				err = errors.New("none is counted for it")
			}
			return err
		})
		for try := 1; ; try++ {
			before := l.settledCounts(t, kind.name, device)
			l.kubectl(t, "-n store exec deployment/"+kind.name+" -- /app "+kind.do)
			now := l.settledCounts(t, kind.name, device)
			agent, ours := now.agent.since(before.agent), now.device.since(before.device)
			if !kind.packetsIn {
				agent.packetsIn, ours.packetsIn = 0, 0
			}
			worst := max(apart(agent.packetsOut, ours.packetsOut), apart(agent.packetsIn, ours.packetsIn), apart(agent.bytesOut, ours.bytesOut), apart(agent.bytesIn, ours.bytesIn))
			text := fmt.Sprintf("%s: the agent counts %+v, %s %+v: at most %.2f %% apart", kind.name, agent, device.Name, ours, worst*100)
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
func (l *layout) settledCounts(t *testing.T, workload string, device net.Interface) (now podCounts) {
	t.Helper()
	until(t, time.Minute, "count the "+workload, func() error {
		before := l.countsOf(t, workload, device)
		time.Sleep(2 * time.Second)
		if now = l.countsOf(t, workload, device); now.agent != before.agent || now.device != before.device {
			return errors.New("packets are counted yet")
		}
		return nil
	})
	return now
}

// startHooked starts a pod on the callers' node, and returns its device once it has its hooks.
func (l *layout) startHooked(t *testing.T, name string) net.Interface {
	t.Helper()
	n, before := l.nodes[0], map[int]bool{}
	for _, d := range devices(t, n) {
		before[d.Index] = true
	}
	l.apply(t, strings.ReplaceAll(countedYAML, "NAME", name))
	l.kubectl(t, "-n store rollout status deployment/"+name+" --timeout=300s")
	var device net.Interface
	until(t, time.Minute, "hook the device of "+name, func() error {
		for _, d := range devices(t, n) {
			if before[d.Index] {
				continue
			}
			for _, attach := range []uint32{tcxIngress, tcxEgress} {
				if ids, err := attached(n, uint32(d.Index), attach); err != nil || len(ids) == 0 {
					return fmt.Errorf("%s has no program: %w", d.Name, err)
				}
			}
			device = d
			return nil
		}
		return errors.New("it has no device")
	})
	return device
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
func (l *layout) countsOf(t *testing.T, workload string, device net.Interface) (c podCounts) {
	t.Helper()
	n := l.nodes[0]
	m, err := l.metrics(n)
	if err != nil {
		t.Fatal(err)
	}
	c.agent = trafficOf{
		m.sum("tracer_packets_total", "src_workload", workload), m.sum("tracer_bytes_total", "src_workload", workload),
		m.sum("tracer_packets_total", "dst_workload", workload), m.sum("tracer_bytes_total", "dst_workload", workload),
	}
	c.unsampled = m.sum("tracer_journeys_total", "outcome", "unsampled")
	out, err := n.Output("cat", "/proc/net/dev")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(out) {
		name, counts, _ := strings.Cut(strings.TrimSpace(line), ":")
		fields := strings.Fields(counts)
		if name != device.Name || len(fields) != 16 {
			continue
		}
		number := func(i int) float64 {
			v, err := strconv.ParseFloat(fields[i], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		const ethernet, received, sent = 14, 0, 8 // by the node's end: bytes, then packets
		c.device = trafficOf{
			number(received + 1), number(received) - ethernet*number(received+1),
			number(sent + 1), number(sent) - ethernet*number(sent+1),
		}
	}
	return c
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
