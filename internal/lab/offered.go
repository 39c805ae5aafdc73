package lab

import (
	"time"
	"tracer/internal/lab/load"
)

// offeredLoad is the part of the load that leaves through a device.
type offeredLoad struct {
	packetBytes float64       // of one UDP packet, as the device's qdisc counts it
	packets     float64       // UDP, a second
	callBytes   float64       // of one TCP call's packets this way
	callEvery   time.Duration // between two TCP calls at most; 0 for none
}

// bytes are offered in a second when packets take delay. TCP calls wait for each other, and so become fewer.
func (p offeredLoad) bytes(delay time.Duration) float64 {
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
	wgOuter   = 20 + 8 + 16 + 16 + ethernet
	wgBlock   = 16 // WireGuard fills packets up to a multiple of it
)

// offeredAt computes what of the load leaves a node through a device: requests on the way to api, responses on the way to
// web, nothing elsewhere.
func (t *topology) offeredAt(node, device string) offeredLoad {
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
		switch t.Overlay {
		case VXLAN:
			header = ethernet + vxOuter
		case WireGuard:
			header = wgOuter + (wgBlock-(t.Load.Size+ipUDP)%wgBlock)%wgBlock
		default:
			header = ipipOuter
		}
	case web.Device:
		responses, header = node == web.Node, ethernet
	case api.Device:
		requests, header = node == api.Node, ethernet
	}
	p := offeredLoad{packetBytes: float64(t.Load.Size + ipUDP + header)}
	if !requests && !responses {
		return p
	}
	p.packets, p.callEvery = t.Load.Rate, t.Load.TCP
	body := load.CallBytes
	ack := 1 // the client has nothing to send and acknowledges the answer by a packet of its own
	if responses {
		body, ack = load.AnswerBytes, 0
	}
	p.callBytes = float64(body + ipTCP + header + ack*(ipTCP+header))
	return p
}
