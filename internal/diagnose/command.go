package diagnose

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// placeholder is a word in a command that stands for a value of the finding: of the packet that was lost last, or else of the pair
// that it hurts most. What is not known stays as it is.
//
//	DEVICE       the finding's; of pods' devices the one of that pair
//	UPLINK       the device by which packets leave the node
//	SOURCE       the address that packets come from
//	DESTINATION  the address that they went to
//	PORT         the port that they went to
//	NAMESPACE    the Kubernetes namespace of who they went to
//	PEER         the workload at the other end
//	OTHER-NODE   an address of the peer's node, or its name
var placeholder = regexp.MustCompile(`\b(DEVICE|UPLINK|SOURCE|DESTINATION|PORT|NAMESPACE|PEER|OTHER-NODE)\b`)

// inThePod is the end of a command that is to be given in a pod, with what it says besides.
const inThePod = "# in the pod"

// inPod is a command to be given in the network namespace of the pod behind a device of this node, if that is known. ip(8) knows
// the name that the container runtime gave it.
func inPod(device, command string) string {
	if device == "" {
		return command + " " + inThePod
	}
	command, comment, ok := strings.Cut(command, " # ")
	if ok {
		comment = " # " + comment
	}
	return "ip netns exec $(ip link show " + shellWord(device) + " | sed -n 's/.*link-netns //p') " + command + comment
}

// plainWord is what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9._:/@%+-]+$`)

// shellWord quotes what a shell would not take as one word: who makes a device may give it nearly any name.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shellCommand joins words to a command.
func shellCommand(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = shellWord(w)
	}
	return strings.Join(quoted, " ")
}

// concrete fills in what is known in a finding's commands.
func (w *window) concrete(f *Finding) {
	p, e := w.example(f)
	values := map[string]string{"DEVICE": f.Device, "UPLINK": w.uplink()}
	if f.Device == netdev.PodLabel || isInPod(f.Device) {
		values["DEVICE"] = w.podDevice(f, e)
	}
	node := ""
	if len(f.Pairs) > 0 {
		values["PEER"] = f.Pairs[0].Dst
	}
	if p != nil && p.Direction == journey.In {
		values["PEER"] = f.Pairs[0].Src
	}
	if e != nil {
		peer := e.Dst
		if p.Direction == journey.In {
			peer = e.Src
		}
		values["SOURCE"], values["DESTINATION"] = e.Source.Addr().String(), e.Destination.Addr().String()
		if port := e.Destination.Port(); port > 0 {
			values["PORT"] = strconv.Itoa(int(port))
		}
		values["NAMESPACE"] = e.Dst.Namespace
		node, values["OTHER-NODE"] = nodeName(peer), peer.Node
		if peer.NodeAddress.IsValid() {
			values["OTHER-NODE"] = peer.NodeAddress.String()
		}
	}
	var commands []string
	seen := make(map[string]bool)
	for _, c := range f.Next {
		if strings.HasPrefix(values["PEER"], "_") && strings.Contains(c, "on the node of PEER") {
			continue // there is no tracer, as far as is known
		}
		if node != "" {
			c = strings.ReplaceAll(c, "on the node of PEER", "on "+node+", where PEER runs")
		}
		c = w.placeInPod(f, p, e, c)
		c = placeholder.ReplaceAllStringFunc(c, func(word string) string { return shellWord(cmp.Or(values[word], word)) })
		if !seen[c] {
			seen[c] = true
			commands = append(commands, c)
		}
	}
	f.Next = commands
}

// nodeName is the node of who is behind an address, with its address if that is known.
func nodeName(id aggregate.Identity) string {
	if id.Node != "" && id.NodeAddress.IsValid() {
		return id.Node + " (" + id.NodeAddress.String() + ")"
	}
	return id.Node
}

// placeInPod says of a command that is to be given in a pod in which, and how if the pod is on this node.
func (w *window) placeInPod(f *Finding, p *aggregate.Pair, e *aggregate.Ends, command string) string {
	bare, rest, ok := strings.Cut(command, " "+inThePod)
	if !ok || e == nil {
		return command
	}
	id, device, here := e.Src, e.From, p.Direction != journey.In
	if receives(f) {
		id, device, here = e.Dst, e.To, p.Direction != journey.Out
	}
	where := " # in pod " + qualified(id.Namespace, cmp.Or(id.Pod, id.Workload))
	if d := w.device(device); d != nil && d.Role == netdev.RolePod && here {
		return inPod(d.Name, bare) + where + rest
	}
	if node := nodeName(id); node != "" && !here {
		where += " on " + node
	}
	return bare + where + rest
}

// receives tells whether a finding is about the pod that packets go to, and not the one that they come from.
func receives(f *Finding) bool { return f.Stage == journey.Deliver }

// podDevice is the device on this node of the pod that a finding is about; "" if it is not known.
func (w *window) podDevice(f *Finding, e *aggregate.Ends) string {
	if e == nil {
		return ""
	}
	order := []int{e.From, e.To}
	if receives(f) || f.Direction == journey.In {
		order = []int{e.To, e.From}
	}
	for _, index := range order {
		if d := w.device(index); d != nil && d.Role == netdev.RolePod {
			return d.Name
		}
	}
	return ""
}

// example is the pair that a finding hurts most, and the ends of its packet that was lost last, or of one of its flows; nil where
// nothing is known of them.
func (w *window) example(f *Finding) (*aggregate.Pair, *aggregate.Ends) {
	if len(f.Pairs) == 0 {
		return nil, nil
	}
	var best *aggregate.Pair
	for _, direction := range []journey.Direction{f.Direction, journey.Out, journey.In, journey.Local} {
		key := aggregate.PairKey{Direction: direction}
		key.SrcNamespace, key.SrcWorkload = unqualified(f.Pairs[0].Src)
		key.DstNamespace, key.DstWorkload = unqualified(f.Pairs[0].Dst)
		if p := w.pair(key); p != nil && (best == nil || best.Ends == nil) {
			best = p
		}
	}
	switch {
	case best == nil:
		return nil, nil
	case f.Kind == KindDrop && best.Dropped != nil && f.Stage != "":
		return best, best.Dropped
	}
	return best, best.Ends
}

// unqualified is the inverse of qualified.
func unqualified(name string) (namespace, workload string) {
	if namespace, workload, ok := strings.Cut(name, "/"); ok {
		return namespace, workload
	}
	return "", name
}

// adviceOn is what to do about a cause; "" of one that is not known.
func adviceOn(c Cause) string {
	for _, info := range Causes() {
		if info.Cause == c {
			return info.Advice
		}
	}
	return ""
}

// next are the commands that show more of a cause, with words replaced as strings.NewReplacer does.
func next(c Cause, oldnew ...string) []string {
	infos := Causes()
	at := slices.IndexFunc(infos, func(i CauseInfo) bool { return i.Cause == c })
	if at < 0 {
		return nil
	}
	commands := infos[at].Next
	for i := range commands {
		commands[i] = strings.NewReplacer(oldnew...).Replace(commands[i])
	}
	return commands
}
