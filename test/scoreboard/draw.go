package main

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"regexp"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"tracer/internal/lab"
)

// choice is what a parameter may be: one of some words, or a whole number of a range.
type choice struct {
	words    []string
	low, top int
}

func (c *choice) UnmarshalYAML(node *yaml.Node) error {
	var numbers []int
	if node.Decode(&numbers) == nil && len(numbers) == 2 && numbers[0] < numbers[1] {
		c.low, c.top = numbers[0], numbers[1]
		return nil
	}
	if err := node.Decode(&c.words); err != nil || len(c.words) == 0 {
		return errors.New("draw: give a list of words, or the least and the greatest number")
	}
	return nil
}

func (c choice) draw(r *rand.Rand) string {
	if c.words != nil {
		return c.words[r.IntN(len(c.words))]
	}
	return strconv.Itoa(c.low + r.IntN(c.top-c.low+1))
}

// cluster is what the seed has made of a scenario's topology.
type cluster struct {
	options lab.Options
	values  map[string]string // of the parameters
}

// uplinks are names that nodes' devices have in the wild.
var uplinks = []string{"eth0", "ens5", "enp1s0", "eno1", "eth1"}

// drawCluster lays out the lab of a playing.
func (p playing) drawCluster() (cluster, error) {
	r := rand.New(rand.NewPCG(p.Seed, 1))
	o := lab.Options{
		Name:        fmt.Sprintf("sb%010x", p.Seed%(1<<40)),
		Overlay:     p.Topology.Overlay,
		HostRouting: p.Topology.HostRouting,
		Netkit:      p.Topology.Netkit,
		Nodes:       p.Topology.Nodes,
		Uplink:      p.Topology.Uplink,
		NodeNet:     drawNodeNet(r),
		PodNet:      netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(100 + r.IntN(150)), 0, 0}), 16),
		Load:        lab.DefaultLoad(),
	}
	if name := uplinks[r.IntN(len(uplinks))]; o.Uplink == "" {
		o.Uplink = name
	}
	if nodes := 2 + r.IntN(2); o.Nodes == 0 {
		o.Nodes = nodes
	}
	// Pods that have no part in it move the others' addresses.
	for i := range r.IntN(3) {
		o.Pods = append(o.Pods, lab.PodSpec{Name: fmt.Sprintf("idle%c", 'a'+i), Node: fmt.Sprintf("node%d", 1+r.IntN(2))})
	}
	for _, s := range p.Topology.Pods {
		pod, err := lab.ParsePod(s)
		if err != nil {
			return cluster{}, err
		}
		o.Pods = append(o.Pods, pod)
	}
	for _, s := range p.Topology.Services {
		service, err := lab.ParseEmptyService(s)
		if err != nil {
			return cluster{}, err
		}
		o.EmptyServices = append(o.EmptyServices, service)
	}
	if o.Pods == nil {
		o.Pods = []lab.PodSpec{}
	}
	p.Load.apply(&o)
	c := cluster{options: o, values: map[string]string{}}
	names := make([]string, 0, len(p.Draw))
	for name := range p.Draw {
		names = append(names, name)
	}
	slices.Sort(names) // a map's own order is another one each time
	for _, name := range names {
		c.values[name] = p.Draw[name].draw(r)
	}
	var err error
	if c.options.Ingress, err = c.fillAll(p.Topology.Ingress); err != nil {
		return c, err
	}
	c.options.Egress, err = c.fillAll(p.Topology.Egress)
	return c, err
}

// fillAll puts values in place of {names} in all of them.
func (c *cluster) fillAll(texts map[string]string) (map[string]string, error) {
	filled := make(map[string]string, len(texts))
	var errs []error
	for key, text := range texts {
		var err error
		filled[key], err = c.fill(text)
		errs = append(errs, err)
	}
	return filled, errors.Join(errs...)
}

func drawNodeNet(r *rand.Rand) netip.Prefix {
	a := [...][4]byte{
		{172, byte(16 + r.IntN(16)), byte(r.IntN(256)), 0},
		{192, 168, byte(r.IntN(256)), 0},
		{10, byte(1 + r.IntN(90)), byte(r.IntN(256)), 0},
	}[r.IntN(3)]
	return netip.PrefixFrom(netip.AddrFrom4(a), 24)
}

func (c loadConfig) apply(o *lab.Options) {
	if c.Off {
		o.Load.Rate, o.Load.TCP = 0.1, 0
	}
	if c.Rate != nil {
		o.Load.Rate = *c.Rate
	}
	if c.Size != 0 {
		o.Load.Size = c.Size
	}
	if c.TCP != nil {
		o.Load.TCP = *c.TCP
	}
}

// learn adds to the parameters what is known once the lab is up.
func (c *cluster) learn(l *lab.Lab, o lab.Options) {
	c.values["overlay"], c.values["uplink"] = l.OverlayDevice(), o.Uplink
	c.values["service"] = l.Service().Address.String()
	c.values["lab"] = l.Name()
	for _, n := range l.Nodes() {
		c.values[n.Name], c.values[n.Name+".tunnel"], c.values[n.Name+".pods"] = n.Address.String(), n.Tunnel.String(), n.Pods.String()
		c.values[n.Name+".pods6"] = n.Pods6.String()
	}
	for _, p := range l.Pods() {
		c.values[p.Name], c.values[p.Name+".six"], c.values[p.Name+".device"] = p.Address.String(), p.Address6.String(), p.Device
	}
}

var parameter = regexp.MustCompile(`\{[a-z][a-z0-9.]*\}`)

// fill puts values in place of {names}.
func (c *cluster) fill(s string) (string, error) {
	var missing error
	filled := parameter.ReplaceAllStringFunc(s, func(name string) string {
		value, ok := c.values[name[1:len(name)-1]]
		if !ok {
			missing = fmt.Errorf("%q: nothing is called %s", s, name)
		}
		return value
	})
	return filled, missing
}
