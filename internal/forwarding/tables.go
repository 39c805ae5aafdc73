// Package forwarding asks the kernel's tables of one network namespace where packets go, and why not: rules and routes, the
// next hop's neighbour entry and forwarding entry, sysctls, the other end of a pod's device.
package forwarding

import (
	"fmt"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/rtnl"
)

// answerWithin is how long an answer of the kernel may take.
const answerWithin = 5 * time.Second

// Tables are those of one network namespace. Methods may be called from any goroutine.
type Tables struct {
	handle *netlink.Handle // for what package netlink reads
	socket *nl.SocketHandle
}

// Open opens the tables of the calling thread's network namespace. The caller closes them.
func Open() (*Tables, error) {
	handle, err := netlink.NewHandle(unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_ROUTE)
	if err != nil {
		handle.Close()
		return nil, fmt.Errorf("open rtnetlink socket: %w", err)
	}
	t := &Tables{handle: handle, socket: &nl.SocketHandle{Socket: socket}}
	within := unix.NsecToTimeval(answerWithin.Nanoseconds())
	if err = socket.SetReceiveTimeout(&within); err == nil {
		err = handle.SetSocketTimeout(answerWithin)
	}
	if err == nil { // or addresses are listed of this namespace alone, whatever is asked for
		err = unix.SetsockoptInt(socket.GetFd(), unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK, 1)
	}
	if err != nil {
		t.Close()
		return nil, fmt.Errorf("set up rtnetlink socket: %w", err)
	}
	return t, nil
}

// Close closes the sockets. Of nil it does nothing.
func (t *Tables) Close() {
	if t != nil {
		t.handle.Close()
		t.socket.Close()
	}
}

// NetnsID is the id that another network namespace, given by a file descriptor of it, has in this one; -1 without one.
func (t *Tables) NetnsID(fd int) (int, error) { return t.handle.GetNetNsIdByFd(fd) }

// get asks for one thing and returns the answer without its header.
func (t *Tables) get(request int, body ...nl.NetlinkRequestData) ([]byte, error) {
	messages, err := t.execute(request, 0, body)
	if err != nil {
		return nil, err
	}
	if len(messages) == 0 {
		return nil, unix.ENOENT
	}
	return messages[0], nil
}

// dump asks for all of a kind.
func (t *Tables) dump(request int, body ...nl.NetlinkRequestData) ([][]byte, error) {
	return rtnl.Complete(func() ([][]byte, error) { return t.execute(request, unix.NLM_F_DUMP, body) })
}

func (t *Tables) execute(request, flags int, body []nl.NetlinkRequestData) ([][]byte, error) {
	r := nl.NewNetlinkRequest(request, flags)
	r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: t.socket}
	for _, data := range body {
		r.AddData(data)
	}
	// Each RTM_GET… is answered by the RTM_NEW… two below it.
	return r.Execute(unix.NETLINK_ROUTE, uint16(request-2))
}

// attributes are those of a message behind its fixed part, by kind. What is malformed ends them.
func attributes(message []byte, fixed int) map[int][]byte {
	found := map[int][]byte{}
	if len(message) < fixed {
		return found
	}
	for kind, value := range rtnl.Attributes(message[fixed:]) {
		found[kind] = value
	}
	return found
}

// number is the value of an attribute of 32 bits; false if it is none.
func number(value []byte) (uint32, bool) {
	if len(value) < 4 {
		return 0, false
	}
	return nl.NativeEndian().Uint32(value), true
}

// raw is the fixed part of a request.
type raw []byte

func (r raw) Len() int          { return len(r) }
func (r raw) Serialize() []byte { return r }
