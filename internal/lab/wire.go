package lab

import (
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// The wire has an address too, to which nodes send what is neither a node's nor a pod's. It forwards nothing.
var gateway6 = netip.MustParsePrefix("fd00:172:30::1/64")

func (t *topology) gateway() netip.Prefix {
	a := t.Nodes[0].Address.As4()
	a[3] = 1
	return netip.PrefixFrom(netip.AddrFrom4(a), 24)
}

// makeWire builds the bridge that joins the nodes.
func (t *topology) makeWire() error {
	if err := t.Wire.setSysctls(everyNamespace); err != nil {
		return err
	}
	h, err := t.Wire.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	bridge := &netlink.Bridge{LinkAttrs: linkAttrs("br0", underlayMTU)}
	if err := h.LinkAdd(bridge); err != nil {
		return fmt.Errorf("%s: add bridge: %w", t.Wire, err)
	}
	link, err := bringUp(h, "br0", t.gateway(), gateway6)
	if err != nil {
		return fmt.Errorf("%s: %w", t.Wire, err)
	}
	for _, node := range t.Nodes {
		if err := t.plug(h, link, node); err != nil {
			return fmt.Errorf("%s: join %s: %w", t.Wire, node.Name, err)
		}
	}
	return nil
}

// plug makes a veth whose one end is a port of the bridge and whose other is the node's uplink. Neither is ever in
// the namespace of the caller.
func (t *topology) plug(h *netlink.Handle, bridge netlink.Link, node Node) error {
	attrs := linkAttrs(node.Name, underlayMTU)
	attrs.MasterIndex = bridge.Attrs().Index
	if err := addVeth(h, attrs, t.Uplink, nil, node.Netns); err != nil {
		return err
	}
	_, err := bringUp(h, node.Name)
	return err
}
