package device

import (
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/rtnl"
)

// source reads from the kernel over a socket that stays in the namespace of the thread that opened it.
type source struct {
	socket    *nl.SocketHandle
	redirects redirects
	offloads  *offloads
}

func openSource() (*source, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w (does the sandbox or seccomp profile allow AF_NETLINK?)", err)
	}
	answerWithin := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	if err := socket.SetReceiveTimeout(&answerWithin); err != nil {
		socket.Close()
		return nil, fmt.Errorf("set timeout of rtnetlink socket: %w", err)
	}
	s := &source{socket: &nl.SocketHandle{Socket: socket}}
	if s.offloads, err = openOffloads(); err != nil {
		socket.Close()
		return nil, err
	}
	return s, nil
}

func (s *source) close() {
	s.socket.Close()
	s.offloads.close()
}

// read asks once for each kind of thing, for all devices together; only classes the kernel lists by device.
func (s *source) read() (State, error) {
	links, err := s.links()
	if err != nil {
		return State{}, err
	}
	qdiscs, err := s.nodes("qdiscs", unix.RTM_GETQDISC, 0)
	if err != nil {
		return State{}, err
	}
	var classes []node
	for _, index := range withClasses(qdiscs) {
		found, err := s.nodes("classes", unix.RTM_GETTCLASS, index)
		if err != nil {
			return State{}, err
		}
		classes = append(classes, found...)
	}
	state := newState(links, qdiscs, classes)
	s.redirects.set(s, state.Devices, time.Now())
	sizes := make(map[int]packetSizes, len(links))
	for i := range links {
		sizes[links[i].index] = links[i].sizes
	}
	s.offloads.set(state.Devices, sizes)
	return state, nil
}

// hasClasses tells whether a qdisc's classes have parameters of their own. Those of others (the bands of prio, tbf's
// one class) add nothing to the tree.
func hasClasses(kind string) bool { return kind == "htb" || kind == "hfsc" }

// withClasses lists the devices with such a qdisc.
func withClasses(qdiscs []node) []int {
	var indexes []int
	for _, n := range qdiscs {
		if hasClasses(n.qdisc.Kind) {
			indexes = append(indexes, n.ifindex)
		}
	}
	slices.Sort(indexes)
	return slices.Compact(indexes)
}

func (s *source) nodes(what string, request, index int) ([]node, error) {
	class := request == unix.RTM_GETTCLASS
	messages, err := s.dump(what, request, &nl.TcMsg{Ifindex: int32(index)})
	if err != nil {
		return nil, err
	}
	var nodes []node
	for _, m := range messages {
		n, ok := parseNode(m, class)
		if !ok || class && !hasClasses(n.qdisc.Kind) {
			continue
		}
		nodes = append(nodes, n)
	}
	return nodes, nil
}

func (s *source) links() ([]link, error) {
	messages, err := s.dump("links", unix.RTM_GETLINK, nl.NewIfInfomsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, err
	}
	links := make([]link, 0, len(messages))
	position := make(map[int]int)
	for _, m := range messages {
		if l, ok := parseLink(m); ok {
			position[l.index] = len(links)
			links = append(links, l)
		}
	}

	addresses, err := s.dump("addresses", unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC))
	if err != nil {
		return nil, err
	}
	for _, m := range addresses {
		index, prefix, ok := parseAddress(m)
		if i, known := position[index]; ok && known {
			links[i].addresses = append(links[i].addresses, prefix)
		}
	}

	routes, err := s.dump("routes", unix.RTM_GETROUTE, &nl.RtMsg{})
	if err != nil {
		return nil, err
	}
	for _, m := range routes {
		for _, index := range parseDefaultRoute(m) {
			if i, known := position[index]; known {
				links[i].defaultRoute = true
			}
		}
	}
	return links, nil
}

// dump asks for all of a kind and returns the answer's messages without their headers. Where it may be incomplete that does
// not matter: each change is also announced to who watches.
func (s *source) dump(what string, request int, body ...nl.NetlinkRequestData) ([][]byte, error) {
	messages, err := rtnl.Complete(func() ([][]byte, error) {
		r := nl.NewNetlinkRequest(request, unix.NLM_F_DUMP)
		r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: s.socket}
		for _, data := range body {
			r.AddData(data)
		}
		// Each RTM_GET… is answered by the RTM_NEW… two below it.
		return r.Execute(unix.NETLINK_ROUTE, uint16(request-2))
	})
	if err != nil {
		return nil, fmt.Errorf("list %s of the network namespace: %w", what, err)
	}
	return messages, nil
}
