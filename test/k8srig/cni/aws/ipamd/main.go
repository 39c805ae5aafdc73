// Command ipamd stands for the daemon of AWS's VPC plugin, which asks AWS for interfaces and addresses: here they are
// arguments. It makes the node's rules and routes by that daemon's own code, and gives the plugin addresses, by turns of the
// second interface and of the primary one.
//
//	ipamd VPC PRIMARY SECOND POOL...
//
// PRIMARY is a device that is there; SECOND a device, its address and its subnet, as eth1=10.200.11.10/24, whose gateway is
// the subnet's first address; each POOL the first address that pods get: the second interface's, then the primary one's.
package main

import (
	"context"
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

// socket is where the plugin looks for its daemon.
const socket = "/var/run/aws-node/ipamd.sock"

func main() {
	if len(os.Args) != 6 {
		fail(fmt.Errorf("got %d arguments", len(os.Args)-1))
	}
	pools := os.Args[4:]
	fail(run(os.Args[1], os.Args[2], os.Args[3], pools))
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "ipamd:", err)
	os.Exit(1)
}

func run(vpc, primary, second string, pools []string) error {
	s := &server{given: map[string]address{}}
	for _, p := range pools {
		a, err := netip.ParseAddr(p)
		if err != nil {
			return err
		}
		s.next = append(s.next, a)
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

// setUp makes what all pods of the node need, and what those of the second interface need.
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
	ip     netip.Addr
	number int
}

func (a address) metadata() []*rpc.IPAllocationMetadata {
	return []*rpc.IPAllocationMetadata{{IPv4Addr: a.ip.String(), DeviceNumber: int32(a.number), RouteTableId: int32(table(a.number))}}
}

// server gives out addresses. It never gives one twice.
type server struct {
	rpc.UnimplementedCNIBackendServer
	vpc string

	mu    sync.Mutex
	next  []netip.Addr
	given map[string]address // by container
	count int
}

func (s *server) AddNetwork(_ context.Context, r *rpc.AddNetworkRequest) (*rpc.AddNetworkReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.given[r.ContainerID]
	if !ok {
		pool := s.count % len(s.next)
		a = address{ip: s.next[pool], number: len(s.next) - 1 - pool}
		s.next[pool] = a.ip.Next()
		s.given[r.ContainerID] = a
		s.count++
	}
	return &rpc.AddNetworkReply{Success: true, IPAllocationMetadata: a.metadata(), VPCv4CIDRs: []string{s.vpc}}, nil
}

func (s *server) DelNetwork(_ context.Context, r *rpc.DelNetworkRequest) (*rpc.DelNetworkReply, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.given[r.ContainerID]
	if !ok {
		return &rpc.DelNetworkReply{Success: true}, nil
	}
	delete(s.given, r.ContainerID)
	return &rpc.DelNetworkReply{Success: true, IPAllocationMetadata: a.metadata()}, nil
}
