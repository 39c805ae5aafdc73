package agent

import (
	"fmt"
	"log/slog"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/lab/load"
)

// leftovers are what CNIs leave when another one takes their place, or when a node was not cleaned: flannel's bridge without ports, its
// overlay and routes to nodes that are none, veths of pods that have ended, a rule of policy routing for one, and rules for pods and
// Services that there are no more.
const leftovers = `
ip link add cni0 type bridge
ip addr add 10.77.0.1/24 dev cni0
ip link set cni0 up
ip link add flannel.1 type vxlan id 1 local 172.30.0.77 dstport 8472 nolearning
ip addr add 10.77.0.0/32 dev flannel.1
ip link set flannel.1 up
ip route add 10.77.1.0/24 via 10.77.1.0 dev flannel.1 onlink
ip neigh add 10.77.1.0 lladdr 02:00:00:00:77:01 dev flannel.1 nud permanent
ip link add veth00000077 type veth peer name veth00000078
ip link set veth00000077 up
ip link add cali77777777777 type veth peer name cali77777777778
ip rule add from 10.77.0.77 lookup 177
nft -f - <<END
table ip filter77 {
	chain cali-tw-cali77777777777 { counter drop comment "cali:gone"; }
	chain KUBE-SERVICES { ip daddr 10.96.77.77 tcp dport 80 counter reject comment "default/gone has no endpoints"; }
	chain forward {
		type filter hook forward priority 0;
		ip daddr 10.77.0.77 jump cali-tw-cali77777777777
		jump KUBE-SERVICES
	}
}
END
`

// TestLeftovers: on a node with leftovers of two CNIs nothing is found, and all is seen.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	var log logged
	c := newCluster(t, load.Config{Rate: 200, Size: 90, TCP: 10 * time.Millisecond}, func(o *Options) {
		o.Log, o.LogFindings = slog.New(slog.NewTextHandler(&log, nil)), true
		cmd := exec.Command("sh", "-e") // in the node's namespace, as this function is called there
		cmd.Stdin = strings.NewReader(leftovers)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	})
	for node, a := range c.agents {
		c.eventually(time.Minute, "a judgement", func() (bool, string) {
			_, judged := a.ActiveFindings()
			return !judged.IsZero(), fmt.Sprint(judged)
		})
		r := c.diagnosed(node, 3*time.Second)
		if found := exceptBusy(r.Findings); len(found) > 0 {
			t.Errorf("node %d: %s: %s %+v", node+1, r.Verdict, r.Summary, found)
		}
		c.wantAllSeen(&r)
		for _, device := range []string{"pod", uplink, c.lab.OverlayDevice()} {
			c.wantCoverage(&r, device, journey.Out, 0.95, 1, "")
		}
	}
	log.wantNoFinding(t)
}

// busy are the causes of a machine that has no time for the lab's own programs.
var busy = []diagnose.Cause{diagnose.ReceiverSlow, diagnose.SoftirqDelay}

// exceptBusy are the other findings.
func exceptBusy(findings []diagnose.Finding) []diagnose.Finding {
	return slices.DeleteFunc(slices.Clone(findings), func(f diagnose.Finding) bool { return slices.Contains(busy, f.Cause) })
}

// wantNoFinding: but for such, no finding was logged.
func (l *logged) wantNoFinding(t *testing.T) {
	t.Helper()
	n := l.count("a finding begins")
	for _, cause := range busy {
		n -= l.count("a finding begins", "cause="+string(cause))
	}
	if n > 0 {
		t.Errorf("%d findings were logged:\n%s", n, l.text.String())
	}
}
