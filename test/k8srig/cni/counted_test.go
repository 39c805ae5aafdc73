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

// counted compares what the agent counts of a pod's packets with what the pod's device counts: of a pod that sends and gets small ones, and of
// one that gets large ones, which are one to the device and several on the wire, so that their number is not compared.
func (l *layout) counted(t *testing.T) {
	t.Helper()
	const most = 0.01
	service := strings.TrimSpace(l.kubectl(t, "-n store get service api -o jsonpath={.spec.clusterIP}"))
	for _, kind := range []struct {
		name, what string
		packetsIn  bool
	}{
		{"datagrams", `exchange, "4000", "` + service + `:80"`, true},
		{"pages", `fetch, "300", "http://` + service + `/65536"`, false},
	} {
		n := l.nodes[0]
		before := map[string]bool{}
		for _, d := range devices(t, n) {
			before[d.Name] = true
		}
		l.apply(t, strings.NewReplacer("NAME", kind.name, "WHAT", kind.what).Replace(countedYAML))
		until(t, 2*time.Minute, "have exchanged all "+kind.name, func() error {
			out, err := l.Kubectl("-n", "store", "logs", "deployment/"+kind.name)
			if err == nil && !strings.Contains(out, "done") {
				err = errors.New(out)
			}
			return err
		})
		var device net.Interface
		for _, d := range devices(t, n) {
			if !before[d.Name] {
				device = d
			}
		}
		if device.Name == "" {
			t.Fatalf("%s has no device", kind.name)
		}
		worst, last := map[string]float64{}, 0.0
		// What is in the agent's hands is counted when its names are known.
		until(t, time.Minute, "count the "+kind.name, func() error {
			time.Sleep(time.Second)
			metrics, err := l.metrics(n)
			if err != nil {
				return err
			}
			sum := metrics.sum("tracer_packets_total", "src_workload", kind.name) + metrics.sum("tracer_packets_total", "dst_workload", kind.name)
			if sum != last {
				last = sum
				return errors.New("packets are counted yet")
			}
			clear(worst)
			for _, way := range []struct{ label, device string }{{"src_workload", "rx"}, {"dst_workload", "tx"}} {
				counts, err := deviceCounts(n, device.Name, way.device)
				if err != nil {
					return err
				}
				if way.device == "rx" || kind.packetsIn {
					worst["packets"] = max(worst["packets"], apart(metrics.sum("tracer_packets_total", way.label, kind.name), counts.packets))
				}
				const ethernet = 14
				worst["bytes"] = max(worst["bytes"], apart(metrics.sum("tracer_bytes_total", way.label, kind.name), counts.bytes-ethernet*counts.packets))
			}
			if worst["packets"] > most || worst["bytes"] > most {
				return fmt.Errorf("differ by %v; one in %v is sampled", worst, metrics.sum("tracer_sample_one_in"))
			}
			return nil
		})
		t.Logf("%s at %s: packets differ by %.2f %%, bytes by %.2f %%", kind.name, device.Name, worst["packets"]*100, worst["bytes"]*100)
		l.apart = max(l.apart, worst["packets"], worst["bytes"])
		l.kubectl(t, "-n store delete deployment "+kind.name+" --wait=true")
	}
}

// apart is by which share of the second two counts differ.
func apart(a, b float64) float64 { return math.Abs(a-b) / max(b, 1) }

type deviceCount struct{ packets, bytes float64 }

// deviceCounts are what a device of a node has counted, rx or tx.
func deviceCounts(n *k8srig.Node, device, way string) (c deviceCount, err error) {
	out, err := n.Output("cat", "/proc/net/dev")
	if err != nil {
		return c, err
	}
	for line := range strings.Lines(out) {
		name, counts, _ := strings.Cut(strings.TrimSpace(line), ":")
		if fields := strings.Fields(counts); name == device && len(fields) == 16 {
			at := map[string]int{"rx": 0, "tx": 8}[way]
			c.bytes, err = strconv.ParseFloat(fields[at], 64)
			if err == nil {
				c.packets, err = strconv.ParseFloat(fields[at+1], 64)
			}
			return c, err
		}
	}
	return c, fmt.Errorf("%s is not in /proc/net/dev", device)
}

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
