package lab

import (
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// tableName is the lab's nftables table on each node.
const tableName = "tracer-lab"

// makeService lets a node rewrite the Service's address to its backend's, in the shape that kube-proxy gives
// its rules: the hooks' chains find the Service, whose own chain chooses the endpoint. With one endpoint on
// another node's network nothing needs to be masqueraded.
func (t *topology) makeService(node Node) error {
	if err := node.withNftables(t.addServiceTable); err != nil {
		return fmt.Errorf("make service (the kernel needs nf_tables and nft_nat): %w", err)
	}
	return nil
}

func (t *topology) addServiceTable(conn *nftables.Conn) {
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: tableName})
	endpoint := conn.AddChain(&nftables.Chain{Table: table, Name: "service-" + kubeNamespace + "-" + t.Service.Name})
	hooks := []*nftables.Chain{
		conn.AddChain(&nftables.Chain{
			Table: table, Name: "nat-prerouting", Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest,
		}),
		conn.AddChain(&nftables.Chain{ // calls from the node itself
			Table: table, Name: "nat-output", Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookOutput, Priority: nftables.ChainPriorityNATDest,
		}),
	}
	backend := t.pod(t.Service.Backend)
	for _, protocol := range []byte{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		for _, chain := range hooks {
			conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
				// ip daddr <service>
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 16, Len: 4},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: t.Service.Address.AsSlice()},
				// meta l4proto <protocol>
				&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
				// th dport <port>
				&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2},
				&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(t.Service.Port)},
				&expr.Counter{},
				&expr.Verdict{Kind: expr.VerdictGoto, Chain: endpoint.Name},
			}})
		}
		conn.AddRule(&nftables.Rule{Table: table, Chain: endpoint, Exprs: []expr.Any{
			// A port can be rewritten only where the protocol is known.
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
			// dnat to <backend>:<target port>
			&expr.Immediate{Register: 1, Data: backend.Address.AsSlice()},
			&expr.Immediate{Register: 2, Data: binaryutil.BigEndian.PutUint16(t.Service.TargetPort)},
			&expr.NAT{
				Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4,
				RegAddrMin: 1, RegProtoMin: 2, Specified: true,
			},
		}})
	}
}

// withNftables makes changes to the node's rules, all of them or none.
func (n *Node) withNftables(change func(*nftables.Conn)) error {
	ns, err := netns.GetFromPath(n.Netns.Path())
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", n.Netns, err)
	}
	defer ns.Close()
	conn, err := nftables.New(nftables.WithNetNSFd(int(ns)))
	if err != nil {
		return fmt.Errorf("%s: open nftables: %w", n.Name, err)
	}
	change(conn)
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("%s: write nftables rules: %w", n.Name, err)
	}
	return nil
}
