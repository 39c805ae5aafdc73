package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// The qdiscs that make a fault.
const (
	Netem = "netem" // the same tree as the tool comcast makes: htb with netem under a class
	TBF   = "tbf"   // a rate just below the load, and a queue as long as the delay
)

// Names of a fault's device, beside "pod:<name>" and real names.
const (
	OverlayDevice = "overlay"
	UplinkDevice  = "uplink"
)

// Fault is what to do to packets. At least one of Delay, Rate and Loss must be set.
type Fault struct {
	Node   string        // "" is where web, or the pod of "pod:<name>", is; of a lab on several machines, this one
	Device string        // "" is OverlayDevice
	Delay  time.Duration // for each packet
	Rate   uint64        // bits per second
	Loss   float64       // 0 to 1
	Limit  uint64        // bytes that the queue holds at most; 0 to derive it from Delay
	Tool   string        // "" is Netem where the kernel has it, else TBF
}

// ActiveFault is a fault that is active.
type ActiveFault struct {
	Node   string    `json:"node"`
	Netns  Namespace `json:"netns"`
	Device string    `json:"device"`
	Tool   string    `json:"tool"`
	Since  time.Time `json:"since"`
	// The parameters of the queue. For tbf the delay is the time that a full queue takes.
	Delay float64 `json:"delay_seconds"`
	Rate  uint64  `json:"rate_bits"` // 0 for no limit
	Loss  float64 `json:"loss_ratio"`
	Limit uint64  `json:"limit"` // tbf: bytes, netem: packets
	// Expected is what the load's UDP packets should meet, computed from the load. What they met is measured: see
	// Oracle.
	Expected Expected `json:"expected"`
	Commands []string `json:"commands"` // the same by hand
	Undo     []string `json:"undo"`     // and how to remove it by hand
	// Classify is the tool that leads packets to netem's class; tbf needs none.
	Classify string `json:"classify,omitempty"`
}

// Expected is what a fault should do to the load's packets.
type Expected struct {
	Delay float64 `json:"delay_seconds"`
	Loss  float64 `json:"loss_ratio"`
	// Settle is how long it takes until the delay is reached: a queue has to fill first.
	Settle float64 `json:"settle_seconds"`
	Note   string  `json:"note,omitempty"`
}

// maxDelay fits netem's 32 bits in units of 64 ns.
const maxDelay = 250 * time.Second

func (f Fault) validate() error {
	switch {
	case f.Delay == 0 && f.Rate == 0 && f.Loss == 0:
		return errors.New("no fault: give a delay, a rate or a loss")
	case f.Delay < 0 || f.Delay > maxDelay:
		return fmt.Errorf("delay of %v: choose up to %v", f.Delay, maxDelay)
	case f.Delay != 0 && f.Delay < 100*time.Microsecond:
		return fmt.Errorf("delay of %v: choose 100µs or more", f.Delay)
	case f.Rate != 0 && f.Rate < 8:
		return fmt.Errorf("rate of %d bit/s: choose 8 (a byte a second) or more", f.Rate)
	case !(f.Loss >= 0 && f.Loss <= 1):
		return fmt.Errorf("loss of %v: choose 0 to 1", f.Loss)
	case f.Limit != 0 && f.Delay != 0 && f.Tool != Netem:
		return errors.New("the limit follows from the delay: give one of the two")
	case f.Limit > 1<<31:
		return fmt.Errorf("limit of %d bytes: choose up to 2 GiB", f.Limit)
	case !slices.Contains([]string{"", Netem, TBF}, f.Tool):
		return fmt.Errorf("tool %q: choose %s or %s", f.Tool, Netem, TBF)
	}
	return nil
}

// locate finds the device of a fault and fills in its node.
func (t *topology) locate(f *Fault) (device string, err error) {
	if pod, ok := strings.CutPrefix(f.Device, "pod:"); ok {
		p := t.pod(pod)
		if p == nil {
			return "", fmt.Errorf("no pod %q: choose one of %s", pod, t.podNames())
		}
		if f.Node != "" && f.Node != p.Node {
			return "", fmt.Errorf("pod %s is on %s, not on %s", pod, p.Node, f.Node)
		}
		if f.Node = p.Node; !t.here(f.Node) {
			return "", fmt.Errorf("%s is on %s, which is another machine: this one is %s", pod, f.Node, t.Machine)
		}
		return p.Device, nil
	}
	if f.Node == "" {
		if f.Node = t.pod(Web).Node; t.Machine != "" {
			f.Node = t.Machine
		}
	}
	if t.node(f.Node) == nil {
		return "", fmt.Errorf("no node %q: choose node1 to node%d", f.Node, len(t.Nodes))
	}
	if !t.here(f.Node) {
		return "", fmt.Errorf("%s is another machine: this one is %s", f.Node, t.Machine)
	}
	switch f.Device {
	case "", OverlayDevice, t.overlayDevice():
		return t.overlayDevice(), nil
	case UplinkDevice, t.Uplink:
		return t.Uplink, nil
	}
	for _, p := range t.Pods {
		if p.Node == f.Node && p.Device == f.Device {
			return p.Device, nil
		}
	}
	return "", fmt.Errorf("no device %q on %s: choose %s, %s or pod:<name>", f.Device, f.Node, OverlayDevice, UplinkDevice)
}

func (t *topology) podNames() string {
	var names []string
	for _, p := range t.Pods {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}
