package trace

import (
	"tracer/internal/journey"
	"tracer/internal/record"
)

// Header are the headers of a packet as they were at a hook, and nothing of what it carries.
type Header struct {
	Bytes   []byte `json:"bytes"`  // from the outermost IP header on; base64 in JSON
	Length  uint32 `json:"length"` // of the whole packet from there on
	Hook    string `json:"hook"`   // "free" where it was dropped
	Device  string `json:"device"` // "" where the kernel does not tell
	Ifindex int    `json:"ifindex"`
	At      int64  `json:"at_ns"` // since the first hook
}

// LongestIn is the index of the device in whose stage the packet was for longest; 0 if none is known.
func (t *Trace) LongestIn() int {
	var longest Stage
	for _, s := range t.Stages {
		if s.Device != "" && s.Seconds > longest.Seconds {
			longest = s
		}
	}
	for _, h := range t.Hooks {
		if longest.Device != "" && h.Device == longest.Device {
			return h.Ifindex
		}
	}
	return 0
}

// SetHeader adds the headers of the record that the trace was made of.
func (t *Trace) SetHeader(h record.Header, rec *record.Record, devices *journey.Devices) {
	t.Header = &Header{
		Bytes: h.Bytes, Length: h.Length, Hook: h.Hook.String(), Ifindex: h.Ifindex, At: int64(h.Time - rec.Start()),
	}
	if h.Ifindex == 0 && rec.Len > 0 {
		t.Header.Ifindex = rec.Hops[rec.Len-1].Ifindex
	}
	if device := devices.Find(t.Header.Ifindex); device != nil {
		t.Header.Device = device.Name
	}
}
