package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// firstNode is a node of the cluster with pods of its own, in namespaces: its agent is a real one, and its packets are real. The pods of
// all other nodes are addresses of the second one, which answers for them.
type firstNode struct{ *lab.Lab }

// upFirstNode makes the node, and gives its pods their places in the cluster.
func upFirstNode(ctx context.Context, dir string, c *cluster) (n *firstNode, err error) {
	l, err := lab.Up(ctx, lab.Options{
		Name: "scale" + strconv.FormatInt(time.Now().UnixNano()%1e9, 36), RunDir: filepath.Join(dir, "lab"), Overlay: lab.Native,
		Load: load.Config{Rate: 50, Size: 200, TCP: time.Second},
	})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Down())
		}
	}()
	place := 0 // of the first node's pods in the cluster: each c.nodes-th is one
	for _, p := range l.Pods() {
		if p.Node == nodeName(0) {
			c.placed[place] = p.Address
			place += c.nodes
		}
	}
	pods := "10.128.0.0/9"
	for _, command := range []string{
		"ip -n " + string(l.Node(1).Netns) + " route add " + pods + " via " + l.Node(2).Address.String(),
		"ip -n " + string(l.Node(2).Netns) + " route add local " + pods + " dev lo",
	} {
		words := strings.Fields(command)
		if text, err := exec.CommandContext(ctx, words[0], words[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w: %s", command, err, text)
		}
	}
	return &firstNode{Lab: l}, nil
}

// answer sends datagrams back, from the address that they were sent to, until ctx ends.
func (n *firstNode) answer(ctx context.Context) error {
	var conn *net.UDPConn
	err := n.Node(2).Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: peerPort})
		return err
	})
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	if err := raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) }); errors.Join(err, set) != nil {
		return fmt.Errorf("have the kernel tell datagrams' addresses: %w", errors.Join(err, set))
	}
	message, to := make([]byte, 2048), make([]byte, 64)
	for {
		size, control, _, from, err := conn.ReadMsgUDPAddrPort(message, to)
		if ctx.Err() != nil {
			return nil
		} else if err != nil {
			return fmt.Errorf("receive: %w", err)
		}
		_, _, _ = conn.WriteMsgUDPAddrPort(message[:size], to[:control], from) // what is lost is asked again, with another datagram
	}
}

// peerPort is where pods of other nodes answer.
const peerPort = 8080

// peer is a pod that the node's web pod sends to: of another workload each, and not of the first node.
func (c *cluster) peer(i int) int {
	p := (1 + i*7) % c.pods
	if p%c.nodes == 0 {
		p++
	}
	return p
}

// send has the node's web pod send datagrams to so many pods of other nodes, one after another, until ctx ends.
func (n *firstNode) send(ctx context.Context, c *cluster, peers int, perSecond float64) error {
	var to []netip.AddrPort
	for i := range peers {
		to = append(to, netip.AddrPortFrom(c.address(c.peer(i)), peerPort))
	}
	web, _ := n.Pod(lab.Web)
	var conn *net.UDPConn
	err := web.Do(func() (err error) {
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{})
		return err
	})
	if err != nil {
		return err
	}
	defer conn.Close()
	go func() {
		for answer := make([]byte, 2048); ; {
			if _, _, err := conn.ReadFromUDPAddrPort(answer); errors.Is(err, net.ErrClosed) {
				return
			}
		}
	}()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	message := make([]byte, 200)
	for began, k := time.Now(), 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for ; float64(k) < time.Since(began).Seconds()*perSecond; k++ {
			if _, err := conn.WriteToUDPAddrPort(message, to[k%len(to)]); err != nil {
				return fmt.Errorf("send: %w", err)
			}
		}
	}
}
