// Command ipamd stands for the daemon of AWS's VPC plugin, which asks AWS for interfaces and addresses: here they are
// arguments. It makes the node's rules and routes by that daemon's own code, and gives the plugin addresses, by turns of the
// second interface, if there is one, and of the primary one.
//
//	ipamd VPC PRIMARY POOL [SECOND POOL]
//
// PRIMARY is a device that is there; SECOND a device, its address and its subnet, as eth1=10.200.11.10/24, whose gateway is
// the subnet's first address; each POOL the first address that pods of that interface get.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/aws/amazon-vpc-cni-k8s/pkg/networkutils"
	"github.com/aws/amazon-vpc-cni-k8s/rpc"
	"google.golang.org/grpc"
)

// socket is where the plugin looks for its daemon, and checkpoint what the daemon has given out, as it has to know when it is started again.
const (
	socket     = "/var/run/aws-node/ipamd.sock"
	checkpoint = "/var/run/aws-node/ipam.json"
)

func main() {
	switch a := os.Args[1:]; len(a) {
	case 3:
		fail(run(a[0], a[1], "", a[2]))
	case 5:
		fail(run(a[0], a[1], a[3], a[4], a[2]))
	default:
		fail(fmt.Errorf("got %d arguments", len(a)))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "ipamd:", err)
	os.Exit(1)
}

// run serves the plugin. The pools are the second interface's, if there is one, and the primary one's.
func run(vpc, primary, second string, pools ...string) error {
	s := &server{}
	for _, p := range pools {
		a, err := netip.ParseAddr(p)
		if err != nil {
			return err
		}
		s.Next = append(s.Next, a)
	}
	if data, err := os.ReadFile(checkpoint); err == nil {
		if err := json.Unmarshal(data, s); err != nil {
			return fmt.Errorf("read %s: %w", checkpoint, err)
		}
	}
	if err := setUp(vpc, primary, second); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		return err
	}
	_ = os.Remove(socket) // of one that was killed
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	s.vpc = vpc
	g := grpc.NewServer()
	rpc.RegisterCNIBackendServer(g, s)
	return g.Serve(listener)
}

// setUp makes what all pods of the node need, and what those of the second interface need, if it is not "".
func setUp(vpc, primary, second string) error {
	network, err := networkutils.New()
	if err != nil {
		return err
	}
	device, err := net.InterfaceByName(primary)
	if err != nil {
		return err
	}
	addresses, err := device.Addrs()
	if err != nil || len(addresses) == 0 {
		return fmt.Errorf("%s has no address: %w", primary, err)
	}
	own := addresses[0].(*net.IPNet).IP
	if err := network.SetupHostNetwork([]string{vpc}, device.HardwareAddr.String(), &own, false, false); err != nil {
		return err
	}
	if second == "" {
		return nil
	}
	name, at, _ := strings.Cut(second, "=")
	if device, err = net.InterfaceByName(name); err != nil {
		return err
	}
	ip, subnet, err := net.ParseCIDR(at)
	if err != nil {
		return err
	}
	const most = 2 // interfaces of this machine
	return network.SetupENINetwork(ip.String(), device.HardwareAddr.String(), 0, subnet.String(), most, false, table(1), false)
}

// table is the routing table of the interface with that number.
func table(number int) int { return networkutils.CalculateRouteTableId(number, 0) }

// address is one of a pod, of the interface with that number.
type address struct {
	IP     netip.Addr
	Number int
}

func (a address) metadata() []*rpc.IPAllocationMetadata {
	return []*rpc.IPAllocationMetadata{{IPv4Addr: a.IP.String(), DeviceNumber: int32(a.Number), RouteTableId: int32(table(a.Number))}}
}

// server gives out addresses. It never gives one twice.
type server struct {
	rpc.UnimplementedCNIBackendServer
	vpc string

	mu    sync.Mutex
	Next  []netip.Addr
	Given map[string]address // by container
	Count int
}

// save writes down what was given out.
func (s *server) save() error {
	data, err := json.Marshal(s)
	if err == nil {
		err = os.WriteFile(checkpoint+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(checkpoint+".new", checkpoint)
	}
	return err
}

func (s *server) AddNetwork(_ context.Context, r *rpc.AddNetworkRequest) (*rpc.AddNetworkReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.Given[r.ContainerID]
	if !ok {
		pool := s.Count % len(s.Next)
		a = address{IP: s.Next[pool], Number: len(s.Next) - 1 - pool}
		s.Next[pool] = a.IP.Next()
		if s.Given == nil {
			s.Given = map[string]address{}
		}
		s.Given[r.ContainerID] = a
		s.Count++
		if err := s.save(); err != nil {
			return nil, err
		}
	}
	return &rpc.AddNetworkReply{Success: true, IPAllocationMetadata: a.metadata(), VPCv4CIDRs: []string{s.vpc}}, nil
}

func (s *server) DelNetwork(_ context.Context, r *rpc.DelNetworkRequest) (*rpc.DelNetworkReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.Given[r.ContainerID]
	if !ok {
		return &rpc.DelNetworkReply{Success: true}, nil
	}
	delete(s.Given, r.ContainerID)
	if err := s.save(); err != nil {
		return nil, err
	}
	return &rpc.DelNetworkReply{Success: true, IPAllocationMetadata: a.metadata()}, nil
}
