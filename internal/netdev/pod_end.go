package netdev

// PodEnd is a pod's own end of its device, in the pod's network namespace. It is known once a packet has shown that something
// happens there: that packets come out of a qdisc, or are lost.
type PodEnd struct {
	Name    string `json:"name"`    // in the pod: "eth0"
	Ifindex int    `json:"ifindex"` // likewise
	Netns   uint64 `json:"netns"`   // inode of the pod's network namespace
	// Queues tells that packets came out of its qdisc lately.
	Queues bool `json:"queues"`
	// Root is its root qdisc: of its kind alone, unless the pod's network namespace could be entered.
	Root Qdisc `json:"root_qdisc"`
	// Unread says why the qdisc's parameters and counters are not known; "" if they are.
	Unread string `json:"unread,omitempty"`
}

// podEndName is what a pod's end is called where nothing has shown its name, and nearly everywhere else.
const podEndName = "eth0"

// Label is by what a pod's end is known in metrics and findings: "pod:eth0", which all pods share. Of nil it is that too.
func (e *PodEnd) Label() string {
	if e == nil || e.Name == "" {
		return PodLabel + ":" + podEndName
	}
	return PodLabel + ":" + e.Name
}

// AsDevice is the pod's end as a device of its own, that of the pod's network namespace. Of nil it is one of which hardly
// anything is known.
func (e *PodEnd) AsDevice() Device {
	d := Device{Name: e.Label(), Role: RolePod, Up: true}
	if e != nil {
		d.Root = e.Root
	}
	return d
}
