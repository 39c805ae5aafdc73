package k8srig

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Tracer builds the program that is tested, as the image has it.
func Tracer(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "tracer")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-tags", "nolab", "-ldflags", "-s -w", "-o", binary, "./cmd/tracer")
	cmd.Dir = filepath.Join("..", "..")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	return binary, run(cmd)
}

// AddNode makes a network namespace that stands for a node: eth0 joined to the fabric, with an address there.
func AddNode(name, address string) error {
	return ip(
		"netns add "+name,
		"link add eth0 netns "+name+" type veth peer name "+name,
		"link set "+name+" master fabric up",
		"-n "+name+" link set lo up",
		"-n "+name+" addr add "+address+"/24 dev eth0",
		"-n "+name+" link set eth0 up",
		"-n "+name+" route add default via "+Fabric,
	)
}

// Netns is a command in a namespace.
func Netns(name string, args ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", name}, args...)...)
}

// AddPod makes a network namespace behind a pod's device of a node.
func AddPod(node, name, address string) error {
	return ip(
		"netns add "+name,
		"link add eth0 netns "+name+" type veth peer name cali"+name+" netns "+node,
		"-n "+name+" link set lo up",
		"-n "+name+" addr add "+address+"/32 dev eth0",
		"-n "+name+" link set eth0 up",
		"-n "+name+" route add 169.254.1.1 dev eth0 scope link",
		"-n "+name+" route add default via 169.254.1.1 dev eth0",
		"-n "+node+" link set cali"+name+" up",
		"netns exec "+node+" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.cali"+name+".proxy_arp=1 net.ipv4.neigh.cali"+name+".proxy_delay=0",
		"-n "+node+" route replace "+address+" dev cali"+name+" scope link",
	)
}

// RemovePod takes it away again.
func RemovePod(name string) error { return ip("-n "+name+" link del eth0", "netns del "+name) }

func ip(commands ...string) error {
	for _, c := range commands {
		if err := run(exec.Command("ip", strings.Fields(c)...)); err != nil {
			return err
		}
	}
	return nil
}

// Agent is tracer agent, run by hand.
type Agent struct {
	*Process
	Address string // of its metrics
	node    string
	binary  string
}

// StartAgent starts one in a node's namespace, and waits until it serves metrics.
func StartAgent(ctx context.Context, binary, dir, node, address string, env []string, args ...string) (*Agent, error) {
	a := &Agent{Address: address, node: node, binary: binary}
	cmd := Netns(node, append([]string{binary, "agent", "--listen", address + ":9435"}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	var err error
	if a.Process, err = Start("agent", dir, cmd); err != nil {
		return nil, err
	}
	return a, Await(ctx, 2*time.Minute, "start the agent", []*Process{a.Process}, func() error {
		_, err := a.Metrics(ctx)
		return err
	})
}

// Metrics scrapes the agent.
func (a *Agent) Metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	return scrape(ctx, a.Address)
}

func scrape(ctx context.Context, address string) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+":9435/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// value is the sum of a family's counters and gauges whose labels are those given, as name, value, name, value.
func value(families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	sum := 0.0
	for _, m := range families[name].GetMetric() {
		if has(m, labels) {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
		}
	}
	return sum
}

func has(m *dto.Metric, labels []string) bool {
	is := map[string]string{}
	for _, l := range m.GetLabel() {
		is[l.GetName()] = l.GetValue()
	}
	for i := 0; i+1 < len(labels); i += 2 {
		if is[labels[i]] != labels[i+1] {
			return false
		}
	}
	return true
}

// Synced waits until the agent has read all that it watches.
func (a *Agent) Synced(ctx context.Context, kinds int) error {
	return Await(ctx, time.Minute, "read the cluster's objects", []*Process{a.Process}, func() error {
		m, err := a.Metrics(ctx)
		if err != nil {
			return err
		}
		if n := value(m, "tracer_identity_synced"); n != float64(kinds) {
			return fmt.Errorf("%v of %d kinds are there", n, kinds)
		}
		return nil
	})
}

var statusLine = regexp.MustCompile(`(?m)^(VmHWM|VmRSS|RssAnon):\s+(\d+) kB$`)

// Memory is what a process has and had resident, in bytes.
func (p *Process) Memory() (now, peak int64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return 0, 0, err
	}
	found := map[string]int64{}
	for _, m := range statusLine.FindAllStringSubmatch(string(data), -1) {
		kb, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			return 0, 0, err
		}
		found[m[1]] = kb << 10
	}
	return found["VmRSS"], found["VmHWM"], nil
}
