package lab

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/lab/load"
)

// The tools that make a fault.
const (
	Netem = "netem" // the exact tree of the tool comcast: htb with netem under a class
	TBF   = "tbf"   // a rate just below the load, and a queue as long as the delay
)

// Names of a fault's device, beside "pod:<name>" and real names.
const (
	OverlayDevice = "overlay"
	UplinkDevice  = "uplink"
)

// Fault is what is wished. Zero fields are no wish; at least one of Delay, Rate and Loss must be one.
type Fault struct {
	Node   string        // "" is where web, or the pod of "pod:<name>", is
	Device string        // "" is OverlayDevice
	Delay  time.Duration // for each packet
	Rate   uint64        // bits per second
	Loss   float64       // 0 to 1
	Limit  uint64        // bytes that the queue holds at most; by itself it follows from Delay
	Tool   string        // "" is Netem where the kernel has it, else TBF
}

// Injected is a fault in force.
type Injected struct {
	Node   string    `json:"node"`
	Netns  Namespace `json:"netns"`
	Device string    `json:"device"`
	Tool   string    `json:"tool"`
	Since  time.Time `json:"since"`
	// What the queue was told. For tbf the delay is what makes up its limit.
	Delay float64 `json:"delay_seconds"`
	Rate  uint64  `json:"rate_bits"` // 0 for no limit
	Loss  float64 `json:"loss_ratio"`
	Limit uint64  `json:"limit"` // tbf: bytes, netem: packets
	// Expected is what the load's UDP packets should meet, reckoned from the load. It is no measurement: that is
	// Oracle's.
	Expected Expected `json:"expected"`
	Commands []string `json:"commands"` // what a person would type to the same effect
	Undo     []string `json:"undo"`     // and to be rid of it
	// Classify is what marks the packets for netem's class; tbf needs none.
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

// maxDelay is what netem's 32 bits of 64 ns can say.
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

// place finds the node and the device that a fault speaks of, and fills in the former.
func (t *topology) place(f *Fault) (device string, err error) {
	if pod, ok := strings.CutPrefix(f.Device, "pod:"); ok {
		p := t.pod(pod)
		if p == nil {
			return "", fmt.Errorf("no pod %q: choose one of %s", pod, t.podNames())
		}
		if f.Node != "" && f.Node != p.Node {
			return "", fmt.Errorf("pod %s is on %s, not on %s", pod, p.Node, f.Node)
		}
		f.Node = p.Node
		return p.Device, nil
	}
	if f.Node == "" {
		f.Node = t.pod(Web).Node
	}
	if t.node(f.Node) == nil {
		return "", fmt.Errorf("no node %q: choose node1 to node%d", f.Node, len(t.Nodes))
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

// passing is the part of the load that leaves through a device.
type passing struct {
	packetBytes float64       // of one UDP packet, as the device's qdisc counts it
	packets     float64       // UDP, a second
	callBytes   float64       // of one TCP call's packets this way
	callEvery   time.Duration // between two TCP calls at most; 0 for none
}

// bytes offered in a second, when packets take delay. TCP calls wait for each other, and so become fewer.
func (p passing) bytes(delay time.Duration) float64 {
	offered := p.packets * p.packetBytes
	if p.callEvery > 0 {
		offered += p.callBytes / max(p.callEvery, delay).Seconds()
	}
	return offered
}

// Bytes of headers in front of payloads.
const (
	ipUDP     = 20 + 8
	ipTCP     = 20 + 20 + 12 // with time stamps
	ethernet  = 14
	ipipOuter = 20 + ethernet
	vxOuter   = 20 + 8 + 8 + ethernet // to the inner Ethernet header
)

// passingBy reckons what of the load leaves a node through a device: requests on the way to api, responses on
// the way to web, nothing elsewhere.
func (t *topology) passingBy(node, device string) passing {
	web, api := t.pod(Web), t.pod(API)
	header, requests, responses := 0, false, false
	switch device {
	case t.overlayDevice():
		requests, responses = node == web.Node, node == api.Node
		if t.Overlay == VXLAN {
			header = ethernet
		}
	case t.Uplink:
		requests, responses = node == web.Node, node == api.Node
		header = ipipOuter
		if t.Overlay == VXLAN {
			header = ethernet + vxOuter
		}
	case web.Device:
		responses, header = node == web.Node, ethernet
	case api.Device:
		requests, header = node == api.Node, ethernet
	}
	p := passing{packetBytes: float64(t.Load.Size + ipUDP + header)}
	if !requests && !responses {
		return p
	}
	p.packets, p.callEvery = t.Load.Rate, t.Load.TCP
	body := load.TCPRequestBytes
	ack := 1 // the client has nothing more to say and acknowledges the answer by a packet of its own
	if responses {
		body, ack = load.TCPResponseBytes, 0
	}
	p.callBytes = float64(body + ipTCP + header + ack*(ipTCP+header))
	return p
}
