package lab

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"

	"tracer/internal/lab/load"
)

// statusWindow is how far back the latest numbers reach.
const statusWindow = 5 * time.Second

// Status is what a lab consists of and how its load fares.
type Status struct {
	Name          string       `json:"name"`
	Since         time.Time    `json:"since"`
	Overlay       string       `json:"overlay"`
	OverlayDevice string       `json:"overlay_device"`
	Nodes         []NodeStatus `json:"nodes"`
	Pods          []Pod        `json:"pods"`
	Service       Service      `json:"service"`
	Load          load.Config  `json:"load"`
	// Trouble says why the application does not run; null if it does.
	Trouble *string `json:"trouble"`
	// CallsPerSecond are those that were answered of late.
	CallsPerSecond float64       `json:"calls_per_second"`
	WindowSeconds  float64       `json:"window_seconds"`
	Recent         Report        `json:"recent"`
	Faults         []ActiveFault `json:"faults"`
}

// NodeStatus is a node and what the kernel says of its overlay's queue.
type NodeStatus struct {
	Node
	RootQdisc string `json:"overlay_root_qdisc"`
}

// Status looks at everything as it is now.
func (l *Lab) Status(now time.Time) (Status, error) {
	st, err := readState(l.dir)
	if err != nil {
		return Status{}, err
	}
	s := Status{
		Name: st.Name, Since: st.Created, Overlay: st.Overlay, OverlayDevice: st.overlayDevice(),
		Pods: st.Pods, Service: st.Service, Load: st.Load, Faults: st.Faults,
	}
	window := min(statusWindow, now.Sub(st.Created)) // a young lab has been up for less
	s.WindowSeconds = window.Seconds()
	if s.Faults == nil {
		s.Faults = []ActiveFault{}
	}
	for _, node := range st.nodesHere() {
		kind, err := rootQdisc(node.Netns, s.OverlayDevice)
		if err != nil {
			return Status{}, err
		}
		s.Nodes = append(s.Nodes, NodeStatus{Node: node, RootQdisc: kind})
	}
	if err := l.appFailure(); err != nil {
		trouble := err.Error()
		s.Trouble = &trouble
	}
	if s.Recent, err = l.Recent(window, load.Monotonic()); err != nil {
		return Status{}, err
	}
	s.CallsPerSecond = float64(s.Recent.RoundTrip.Count) / s.WindowSeconds
	return s, nil
}

// rootQdisc is the kind of a device's root qdisc: "noqueue" where none was asked for.
func rootQdisc(ns Namespace, device string) (string, error) {
	h, err := ns.handle()
	if err != nil {
		return "", err
	}
	defer h.Close()
	link, err := h.LinkByName(device)
	if err != nil {
		return "", fmt.Errorf("%s: find %s: %w", ns, device, err)
	}
	qdiscs, err := h.QdiscList(link)
	if err != nil {
		return "", fmt.Errorf("%s: list qdiscs of %s: %w", ns, device, err)
	}
	for _, q := range qdiscs {
		if q.Attrs().Parent == netlink.HANDLE_ROOT {
			return q.Type(), nil
		}
	}
	return "noqueue", nil // older kernels do not list it
}
