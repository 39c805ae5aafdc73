package incident

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"tracer/internal/netdev"
)

// Redacted is the incident with pseudonyms in the place of addresses and of the names of nodes, namespaces, workloads, pods, Services
// and pods' devices: the same one for the same address or name throughout. Comments of rules are left out. What is the kernel's stays:
// causes, reasons, functions, the names of other devices, and all figures.
func (i *Incident) Redacted() (*Incident, error) {
	var written bytes.Buffer
	if err := i.Write(&written); err != nil {
		return nil, err
	}
	text := written.Bytes()
	p := pseudonyms{names: map[string]string{}, addresses: map[netip.Addr]string{}, macs: map[string]string{}, counts: map[string]int{}, devices: map[string]bool{}}
	p.collect(i)
	var out bytes.Buffer
	for l := range bytes.Lines(text) {
		// First all of them: what is a name in one line stands in the text of another.
		if _, err := rewrite(l, p.learn); err != nil {
			return nil, fmt.Errorf("redact incident: %w", err)
		}
	}
	p.compile()
	for l := range bytes.Lines(text) {
		replaced, err := rewrite(l, p.replace)
		if err != nil {
			return nil, fmt.Errorf("redact incident: %w", err)
		}
		out.Write(replaced)
	}
	redacted, err := Read(&out)
	if err != nil {
		return nil, fmt.Errorf("redact incident: %w", err)
	}
	if redacted.Damaged > 0 {
		return nil, errors.New("redact incident: a line cannot be read any more")
	}
	redacted.Redact = true
	redacted.ID = i.ID
	return redacted, nil
}

// pseudonyms are those given so far.
type pseudonyms struct {
	names     map[string]string
	addresses map[netip.Addr]string
	macs      map[string]string
	counts    map[string]int  // of each kind of names
	devices   map[string]bool // those that are no pod's
	inText    *regexp.Regexp  // any of the names, where it stands in a text
}

// nameKinds are the fields that hold a name, and what its pseudonyms are called. A qualified name is namespace/name.
var nameKinds = map[string]string{
	"node": "node", "peer_node": "node",
	"namespace": "namespace", "src_namespace": "namespace", "dst_namespace": "namespace",
	"workload": "workload", "src_workload": "workload", "dst_workload": "workload", "src": "workload", "dst": "workload",
	"pod": "pod", "service": "service", "endpoint_of": "service",
}

// asIs are the fields that hold words of the kernel and of ours, in which a workload's name may happen to stand too.
var asIs = []string{
	"", "id", "tracer", "kernel", "version", "kind", "cause", "severity", "stage", "direction", "role", "reason", "location", "hook",
	"verdict", "protocol", "began", "started", "taken", "time", "since", "critical_since", "limit_unit", "driver", "meaning",
}

// name gives a name its pseudonym. Words of ours (_node, _external) stay.
func (p *pseudonyms) name(kind, name string) string {
	if name == "" || strings.HasPrefix(name, "_") {
		return name
	}
	given, ok := p.names[name]
	if !ok {
		p.counts[kind]++
		given = fmt.Sprintf("%s-%d", kind, p.counts[kind])
		p.names[name] = given
	}
	return given
}

// qualified gives both parts of namespace/name theirs.
func (p *pseudonyms) qualified(kind, text string) string {
	namespace, name, ok := strings.Cut(text, "/")
	if !ok {
		return p.name(kind, text)
	}
	return p.name("namespace", namespace) + "/" + p.name(kind, name)
}

// collect gives pods' devices their pseudonyms: many a CNI makes them of the pod's name.
func (p *pseudonyms) collect(i *Incident) {
	for k := range i.Frames {
		for _, d := range i.Frames[k].Devices {
			if d.Role == netdev.RolePod {
				p.name("pod-device", d.Name)
			} else {
				p.devices[d.Name] = true
			}
		}
	}
	for k := range i.Frames {
		if i.Frames[k].Seen == nil {
			continue
		}
		for _, hook := range i.Frames[k].Seen.HooksMissing { // hook, device, and why
			if words := strings.Fields(hook); len(words) > 1 {
				if device := strings.TrimSuffix(words[1], ":"); !p.devices[device] {
					p.name("pod-device", device)
				}
			}
		}
	}
}

// learn gives pseudonyms to what stands in a field for names.
func (p *pseudonyms) learn(key, value string) string {
	if kind := nameKinds[key]; kind != "" && !isAddress(value) {
		p.qualified(kind, value)
	}
	if key != "" && !slices.Contains(asIs, key) {
		for _, pair := range pairInText.FindAllStringSubmatch(value, -1) {
			p.qualified("workload", pair[1])
		}
	}
	return value
}

// pairInText finds what a sentence or a rule calls namespace/name without a field for it. A rate is none, nor a path.
var pairInText = regexp.MustCompile(`(?:^|[\s("'→])([a-z][a-z0-9-]{1,62}/[a-z0-9][a-z0-9.-]*[a-z0-9])(?:[\s)"',;:]|$)`)

func isAddress(text string) bool {
	_, err := netip.ParseAddr(text)
	return err == nil
}

// compile makes the expression that finds names in texts, the longest first.
func (p *pseudonyms) compile() {
	names := make([]string, 0, len(p.names))
	for name := range p.names {
		names = append(names, regexp.QuoteMeta(name))
	}
	slices.SortFunc(names, func(a, b string) int { return len(b) - len(a) })
	if len(names) > 0 {
		p.inText = regexp.MustCompile(`[A-Za-z0-9_.-]*(?:` + strings.Join(names, "|") + `)[A-Za-z0-9_.-]*`)
	}
}

var (
	// comment finds those of rules: as nft, a shell and we write them, and between /* and */ as iptables -L does; also one that is cut off.
	comment = regexp.MustCompile(`(?s)(comment (?:--comment )?)(?:(?:"(?:[^"\\]|\\.)*(?:"|\\?$)|'[^']*(?:'|$)|\\.)+|(?:\\.|\S)+)|/\*.*?(?:\*/|$)`)
	numbers = regexp.MustCompile(`[0-9A-Fa-f]*[:.][0-9A-Fa-f:.]+`)
)

// replace puts pseudonyms into a string.
func (p *pseudonyms) replace(key, value string) string {
	if kind := nameKinds[key]; kind != "" && !isAddress(value) {
		return p.qualified(kind, value)
	}
	if slices.Contains(asIs, key) {
		return value
	}
	if given, ok := p.names[value]; ok {
		return given
	}
	value = comment.ReplaceAllString(value, `$1"…"`)
	value = numbers.ReplaceAllStringFunc(value, p.address)
	if p.inText == nil {
		return value
	}
	return p.inText.ReplaceAllStringFunc(value, p.word)
}

// word replaces a word of a text if it is a name, or one with something around it that belongs to no name: a full stop, or a
// Service's domain.
func (p *pseudonyms) word(word string) string {
	if given, ok := p.names[word]; ok {
		return given
	}
	trimmed := strings.TrimRight(word, ".-")
	if given, ok := p.names[trimmed]; ok {
		return given + word[len(trimmed):]
	}
	parts := strings.Split(word, ".")
	for i, part := range parts {
		if given, ok := p.names[part]; ok {
			parts[i] = given
		}
	}
	return strings.Join(parts, ".")
}

// address replaces an address, with its port if it has one. What is nobody's own stays: loopback, link-local, multicast.
func (p *pseudonyms) address(text string) string {
	if mac, err := net.ParseMAC(text); err == nil && len(mac) == 6 {
		given, ok := p.macs[text]
		if !ok {
			n := len(p.macs) + 1
			given = fmt.Sprintf("02:00:00:00:%02x:%02x", n>>8&0xff, n&0xff)
			p.macs[text] = given
		}
		return given
	}
	for _, bare := range []string{text, strings.TrimRight(text, ":.")} { // what ends a sentence is no part of it
		if a, err := netip.ParseAddr(bare); err == nil {
			return p.addr(a) + text[len(bare):]
		}
	}
	host, port, ok := cutLast(text, ":")
	if a, err := netip.ParseAddr(host); ok && err == nil && a.Is4() {
		return p.addr(a) + ":" + port
	}
	return text
}

func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// addr is an address's pseudonym, of the blocks for benchmarks (RFC 2544) and documentation (RFC 3849).
func (p *pseudonyms) addr(a netip.Addr) string {
	if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast() && a.Is4() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return a.String()
	}
	given, ok := p.addresses[a]
	if !ok {
		n := len(p.addresses) + 1
		if a.Is4() {
			given = netip.AddrFrom4([4]byte{198, 18 + byte(n>>16&1), byte(n >> 8), byte(n)}).String()
		} else {
			given = netip.AddrFrom16([16]byte{0x20, 0x01, 0x0d, 0xb8, 13: byte(n >> 16), 14: byte(n >> 8), 15: byte(n)}).String()
		}
		p.addresses[a] = given
	}
	return given
}
