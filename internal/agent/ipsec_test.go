package agent

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/internal/record"
)

// TestIPsecPolicies follows a pod's packets that policies encrypt on their way out and decrypt on their way in, without a
// device of their own. This machine has no IPsec; an emulated one has.
func TestIPsecPolicies(t *testing.T) {
	t.Parallel()
	ipip := wayOut{name: "ipip1", make: "type ipip local HERE remote THERE"}
	for _, test := range []struct {
		name, mode, options string
		ways                []wayOut
		out, in             string
	}{
		{name: "tunnel", mode: "tunnel",
			out: "ingress cali0123456789a, egress eth0, xmit eth0", in: "ingress eth0, egress cali0123456789a, xmit cali0123456789a"},
		{name: "tunnel in UDP", mode: "tunnel", options: "encap espinudp 4500 4500 0.0.0.0",
			out: "ingress cali0123456789a, egress eth0, xmit eth0"}, // what comes in so needs a program that opens the port
		{name: "transport under ipip", mode: "transport", ways: []wayOut{ipip},
			out: "ingress cali0123456789a, egress ipip1, xmit ipip1, egress eth0, xmit eth0", in: "ingress ipip1, egress cali0123456789a, xmit cali0123456789a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPairOfNodes(t, test.ways...)
			if len(p.ways) < len(test.ways) {
				p.mustBeHost()
				return
			}
			const far, pod = "10.9.20.2:9", "10.9.1.2:9"
			device, near, other := "eth0", "10.9.0.1", "10.9.0.2"
			if test.ways != nil {
				device, near, other = "ipip1", "10.9.10.1", "10.9.10.2"
			}
			p.ip(p.near, "route add 10.9.20.0/24 via "+other)
			p.ip(p.far, "addr add 10.9.20.2/32 dev "+device)
			p.ip(p.far, "route add 10.9.1.0/24 via "+near+" src 10.9.20.2")
			mine, theirs := [2]string{"10.9.1.0/24", "10.9.20.0/24"}, [2]string{"10.9.20.0/24", "10.9.1.0/24"}
			if test.mode == "transport" {
				mine, theirs = [2]string{"HERE", "HERE"}, [2]string{"THERE", "THERE"}
			}
			for node, ns := range []lab.Namespace{p.near, p.far} {
				err := setIPsec(ns, endsOf(node), ipsec(test.mode, test.options, "", mine[node], theirs[node]))
				if errors.Is(err, errNoSuchKind) {
					p.mustBeHost()
					return
				} else if err != nil {
					t.Fatal(err)
				}
			}
			a, names := p.trace()
			if test.mode == "tunnel" && test.in != "" {
				p.ip(p.pod, "link set eth0 mtu 1400") // with IPsec's headers no more than the wire's
				p.splits(a, far)
			}
			w := wayOut{name: "policies", tunnel: true}
			p.follow(a, names, w, "out", p.pod, far, test.out)
			if test.in != "" {
				w.tunnel = false
				p.follow(a, names, w, "in", p.far, pod, test.in)
			}
		})
	}
}

// splits sends much by TCP, in packets that IPsec splits before it encrypts them. None of them may count as lost; each ends where
// it is split.
func (p *pairOfNodes) splits(a *Agent, far string) {
	p.Helper()
	const bytes = 1 << 20
	ctx, cancel := context.WithTimeout(p.Context(), 60*time.Second)
	defer cancel()
	records, _ := a.Subscribe(ctx, func(r *record.Record) bool {
		return r.First.Destination.String() == far && r.First.Protocol == unix.IPPROTO_TCP && r.Segments > 1
	})
	received := make(chan int64, 1)
	err := p.far.Do(func() error {
		listener, err := net.Listen("tcp", far)
		if err != nil {
			return err
		}
		go func() {
			defer listener.Close()
			var n int64
			if conn, err := listener.Accept(); err == nil {
				n, _ = io.Copy(io.Discard, conn)
				conn.Close()
			}
			received <- n
		}()
		return nil
	})
	if err == nil {
		err = p.pod.Do(func() error {
			conn, err := net.DialTimeout("tcp", far, 10*time.Second)
			if err != nil {
				return err
			}
			_, err = conn.Write(make([]byte, bytes))
			return errors.Join(err, conn.Close())
		})
	}
	if err != nil {
		p.Fatal(err)
	}
	if n := <-received; n != bytes {
		p.Fatalf("%d bytes arrived of %d", n, bytes)
	}
	for range 5 {
		select {
		case r := <-records:
			if r.Kind != record.Split {
				p.Errorf("%v of %d segments, %s at %s; want a split", r.Kind, r.Segments, r.Reason, r.Location)
			}
		case <-ctx.Done():
			p.Fatal("no large packet was seen")
		}
	}
	m, err := a.TakeSnapshot()
	if err != nil {
		p.Fatal(err)
	}
	for _, d := range m.Counts.Drops {
		if d.Loss && strings.HasPrefix(d.Location, "xfrm_") {
			p.Errorf("%d packets count as lost: %s at %s", d.Packets, d.Reason, d.Location)
		}
	}
}
