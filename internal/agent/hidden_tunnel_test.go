package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/record"
)

// errNoSuchKind tells that this kernel has no device of a kind.
var errNoSuchKind = errors.New("the kernel has no such device")

// noSuchKind is errNoSuchKind for what tools say of a kernel that lacks something, else the error itself.
func noSuchKind(err error) error {
	if err == nil {
		return nil
	}
	for _, text := range []string{"Unknown device type", "No such file or directory", "qdisc kind is unknown", "not found", "not supported"} {
		if strings.Contains(err.Error(), text) {
			return fmt.Errorf("%w: %w", errNoSuchKind, err)
		}
	}
	return err
}

// inNode runs commands in a node's namespace; errNoSuchKind if the kernel lacks what they ask for.
func inNode(ns lab.Namespace, ends *strings.Replacer, commands ...string) error {
	for _, command := range commands {
		words := append([]string{"netns", "exec", string(ns)}, strings.Fields(ends.Replace(command))...)
		if out, err := exec.Command("ip", words...).CombinedOutput(); err != nil {
			return noSuchKind(fmt.Errorf("ip netns exec %s %s: %w: %s", ns, command, err, out))
		}
	}
	return nil
}

func setWireGuard(_ *pairOfNodes, node int, ns lab.Namespace, ends *strings.Replacer) error {
	const port = 51820
	return ns.Do(func() error {
		return lab.SetWireGuard("wg1", fmt.Sprintf("node%d", node+1), port, []lab.WireGuardPeer{{
			Name:     fmt.Sprintf("node%d", 2-node),
			Endpoint: netip.AddrPortFrom(netip.MustParseAddr(ends.Replace("THERE")), port),
			Allowed:  []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")},
		}})
	})
}

func setMACsec(_ *pairOfNodes, node int, ns lab.Namespace, ends *strings.Replacer) error {
	const key = "key 00 0123456789abcdef0123456789abcdef"
	peer := fmt.Sprintf("port 1 address 02:00:00:00:09:0%d", 2-node)
	return inNode(ns, ends,
		"ip macsec add macsec1 tx sa 0 pn 1 on "+key,
		"ip macsec add macsec1 rx "+peer,
		"ip macsec add macsec1 rx "+peer+" sa 0 pn 1 on "+key)
}

// setXfrm is for an interface whose if_id is 5.
func setXfrm(_ *pairOfNodes, _ int, ns lab.Namespace, ends *strings.Replacer) error {
	return setIPsec(ns, ends, ipsec("tunnel", "if_id 5", "if_id 5", "0.0.0.0/0", "0.0.0.0/0"))
}

// setIPsec runs the commands of ipsec in a node's namespace.
func setIPsec(ns lab.Namespace, ends *strings.Replacer, commands []string) error {
	// 6.1 asks for it while it loads another module, and a guest loads one at a time. Elsewhere it may be missing.
	_ = exec.Command("modprobe", "-q", "sha3_generic").Run()
	return inNode(ns, ends, commands...)
}

// ipsec are the commands that have packets between two prefixes, this node's and the other's, encrypted and decrypted.
func ipsec(mode, stateOptions, policyOptions, mine, theirs string) (commands []string) {
	for spi, ends := range []string{"src 10.9.0.1 dst 10.9.0.2", "src 10.9.0.2 dst 10.9.0.1"} {
		commands = append(commands, fmt.Sprintf("ip xfrm state add %s proto esp spi %d reqid 1 mode %s %s", ends, spi+1, mode, stateOptions)+
			" aead rfc4106(gcm(aes)) 0x0123456789abcdef0123456789abcdef01234567 128")
	}
	policy := func(direction, from, to, source, destination string) string {
		return fmt.Sprintf("ip xfrm policy add src %s dst %s dir %s %s tmpl src %s dst %s proto esp reqid 1 mode %s",
			from, to, direction, policyOptions, source, destination, mode)
	}
	return append(commands, policy("out", mine, theirs, "HERE", "THERE"),
		policy("in", theirs, mine, "THERE", "HERE"), policy("fwd", theirs, mine, "THERE", "HERE"))
}

func setL2TP(_ *pairOfNodes, _ int, ns lab.Namespace, ends *strings.Replacer) error {
	return inNode(ns, ends, "ip l2tp add tunnel tunnel_id 1 peer_tunnel_id 1 encap udp local HERE remote THERE udp_sport 5000 udp_dport 5000",
		"ip l2tp add session name l2tp1 tunnel_id 1 session_id 1 peer_session_id 1")
}

// setTun makes a tun device on either node and, when both are there, a program that passes packets from one to the other.
func setTun(p *pairOfNodes, _ int, ns lab.Namespace, _ *strings.Replacer) error {
	err := ns.Do(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
			return errNoSuchKind
		} else if err != nil {
			return fmt.Errorf("open /dev/net/tun: %w", err)
		}
		request, err := unix.NewIfreq("tun1")
		if err == nil {
			request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, request)
		}
		if err != nil {
			return fmt.Errorf("make tun1: %w", errors.Join(err, unix.Close(fd)))
		}
		p.tuns = append(p.tuns, os.NewFile(uintptr(fd), "/dev/net/tun"))
		return nil
	})
	if err != nil || len(p.tuns) < 2 {
		return err
	}
	near, far := p.tuns[0], p.tuns[1]
	ended := make(chan struct{}, 2)
	for _, ends := range [][2]*os.File{{near, far}, {far, near}} {
		go func() {
			defer func() { ended <- struct{}{} }()
			packet := make([]byte, 1<<16)
			for {
				n, err := ends[0].Read(packet)
				if err != nil {
					return // closed
				}
				_, _ = ends[1].Write(packet[:n]) // refused as long as that end is down
			}
		}()
	}
	p.Cleanup(func() {
		if err := errors.Join(near.Close(), far.Close()); err != nil {
			p.Error(err)
		}
		<-ended
		<-ended
	})
	return nil
}

// TestTunnelDrops has a tunnel's driver drop what a pod sends: a WireGuard device without a peer. It is a loss there.
func TestTunnelDrops(t *testing.T) {
	t.Parallel()
	p := newPairOfNodes(t)
	if err := ip(p.near, "link add wg2 type wireguard"); errors.Is(err, errNoSuchKind) {
		p.mustBeHost()
		return
	} else if err != nil {
		t.Fatal(err)
	}
	p.ip(p.near, "link set wg2 up")
	p.ip(p.near, "route add 10.9.77.0/24 dev wg2")
	a, device := p.trace()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	const far = "10.9.77.1:9"
	records, _ := a.Subscribe(ctx, func(r *record.Record) bool {
		return r.Kind == record.Dropped && r.First.Destination.String() == far
	})
	err := p.pod.Do(func() error {
		conn, err := net.Dial("udp", far)
		if err != nil {
			return err
		}
		defer conn.Close()
		for range 10 {
			_, _ = conn.Write([]byte("a datagram")) // the answer to the one before is an error
			time.Sleep(20 * time.Millisecond)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r, ok := <-records
	if !ok {
		t.Fatal("no drop was seen")
	}
	hops := r.Passed()
	if last := hops[len(hops)-2]; !r.Attributed || last.Hook != record.Xmit || device[last.Ifindex] != "wg2" {
		t.Errorf("%v, attributed %v; want a drop behind the xmit of wg2", hops, r.Attributed)
	}
	m, err := a.TakeSnapshot()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range m.Counts.Drops {
		if d.Device == "wg2" && d.Loss && d.Stage == journey.Encap {
			return
		}
	}
	t.Errorf("no loss in %+v", m.Counts.Drops)
}
