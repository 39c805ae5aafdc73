package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The tools that set the class of packets to 10:10.
const (
	byIptables = "iptables" // as comcast does
	byNftables = "nftables" // the same rule where there is no iptables
)

// classifyTable is the nftables table of that rule.
const classifyTable = tableName + "-fault"

func classifier() string {
	if _, err := exec.LookPath("iptables"); err == nil {
		return byIptables
	}
	return byNftables
}

var classified = []struct {
	name   string
	number byte
}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}, {"icmp", unix.IPPROTO_ICMP}}

// iptablesArgs are comcast's, to append (-A), delete (-D) or look for (-C) its rule. -w waits for others that
// change rules.
func iptablesArgs(verb, protocol string) []string {
	return []string{"iptables", "-w", verb, "POSTROUTING", "-t", "mangle", "-j", "CLASSIFY", "--set-class", "10:10", "-p", protocol}
}

func classifyCommands(ns Namespace, how string) []string {
	var commands []string
	in := fmt.Sprintf("ip netns exec %s ", ns)
	if how == byNftables {
		return []string{
			in + "nft add table inet " + classifyTable,
			in + fmt.Sprintf("nft add chain inet %s postrouting '{ type filter hook postrouting priority mangle; }'", classifyTable),
			in + fmt.Sprintf("nft add rule inet %s postrouting meta l4proto '{ tcp, udp, icmp }' meta priority set 10:10", classifyTable),
		}
	}
	for _, p := range classified {
		commands = append(commands, in+strings.Join(iptablesArgs("-A", p.name), " "))
	}
	return commands
}

func unclassifyCommands(ns Namespace, how string) []string {
	in := fmt.Sprintf("ip netns exec %s ", ns)
	var commands []string
	switch how {
	case byNftables:
		commands = append(commands, in+"nft delete table inet "+classifyTable)
	case byIptables:
		for _, p := range classified {
			commands = append(commands, in+strings.Join(iptablesArgs("-D", p.name), " "))
		}
	}
	return commands
}

// classify adds the rules to a node. They are not of one device: a second fault on the node finds them there.
func (t *topology) classify(node *Node, how string) error {
	if how == byNftables {
		return node.withNftables(addClassifyTable)
	}
	for _, p := range classified {
		if node.iptables("-C", p.name) == nil {
			continue
		}
		if err := node.iptables("-A", p.name); err != nil {
			return err
		}
	}
	return nil
}

// unclassify removes the rules, if there are any.
func (t *topology) unclassify(node *Node, how string) error {
	switch how {
	case byNftables:
		err := node.withNftables(func(conn *nftables.Conn) {
			conn.DelTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: classifyTable})
		})
		if !errors.Is(err, unix.ENOENT) {
			return err
		}
	case byIptables:
		for _, p := range classified {
			if node.iptables("-C", p.name) != nil {
				continue
			}
			if err := node.iptables("-D", p.name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (n *Node) iptables(verb, protocol string) error {
	args := iptablesArgs(verb, protocol)
	return n.Do(func() error {
		out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: iptables is gone: %w", n.Name, err)
		} else if err != nil {
			return fmt.Errorf("%s: %s: %w: %s", n.Name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

func addClassifyTable(conn *nftables.Conn) {
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyINet, Name: classifyTable})
	conn.FlushTable(table) // of an earlier fault on this node
	chain := conn.AddChain(&nftables.Chain{
		Table: table, Name: "postrouting", Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityMangle,
	})
	for _, p := range classified {
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{p.number}},
			&expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(handleSlow)},
			&expr.Meta{Key: expr.MetaKeyPRIORITY, SourceRegister: true, Register: 1},
		}})
	}
}
