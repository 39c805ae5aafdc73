// Package pcapng writes the headers of traced packets as a file that Wireshark, tshark and others read, with what is known of each
// packet as its comments.
package pcapng

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"tracer/internal/journey"
	"tracer/internal/trace"
)

// unknownDevice is the interface of packets whose device the kernel does not tell.
const unknownDevice = "unknown"

// Writer writes one file. Each packet is written at once and as a whole, so that the file is valid whenever writing ends.
type Writer struct {
	to         io.Writer
	block      bytes.Buffer // what is to be written next
	ng         *pcapgo.NgWriter
	interfaces map[string]int
	written    int64 // bytes
	made       int
}

// New begins a file: application is who writes it, and comment stands at its head.
func New(to io.Writer, application, comment string) (*Writer, error) {
	w := &Writer{to: to, interfaces: map[string]int{unknownDevice: 0}}
	section := pcapgo.DefaultNgWriterOptions.SectionInfo
	section.Application, section.Comment = application, comment
	var err error
	if w.ng, err = pcapgo.NewNgWriterInterface(&w.block, newInterface(unknownDevice, ""), pcapgo.NgWriterOptions{SectionInfo: section}); err != nil {
		return nil, fmt.Errorf("begin a pcapng file: %w", err)
	}
	return w, w.flush()
}

// newInterface is a device. Packets begin with their IP header, since not all devices have an Ethernet header, and packets that the
// node sends are dropped before they have one.
func newInterface(name, description string) pcapgo.NgInterface {
	const nanoseconds = 9
	return pcapgo.NgInterface{Name: name, Description: description, OS: "linux", LinkType: layers.LinkTypeRaw, TimestampResolution: nanoseconds}
}

// Write adds a packet: its headers or, where they were not read, an IP header and ports made of what the trace knows.
func (w *Writer) Write(t *trace.Trace) error {
	head, at := t.Header, time.Duration(t.TotalSeconds*float64(time.Second)) // a dropped packet's last hook is the drop
	comments := commentsOf(t)
	if head == nil {
		var err error
		if head, err = makeHeader(t); err != nil {
			return err
		}
		comments = append(comments, made)
		w.made++
	} else {
		at = time.Duration(head.At)
		comments = append(comments, "headers as they were at "+hookText(head))
	}
	index, err := w.interfaceOf(head, t)
	if err != nil {
		return fmt.Errorf("add a device to the pcapng file: %w", err)
	}
	options := pcapgo.NgPacketOptions{Comments: comments}
	switch t.Direction {
	case journey.In:
		options.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionInbound}
	case journey.Out:
		options.Flags = &pcapgo.NgEpbFlags{Direction: pcapgo.NgEpbFlagDirectionOutbound}
	}
	err = w.ng.WritePacketWithOptions(gopacket.CaptureInfo{
		Timestamp: t.Time.Add(at), CaptureLength: len(head.Bytes), Length: max(int(head.Length), len(head.Bytes)), InterfaceIndex: index,
	}, head.Bytes, options)
	if err != nil {
		return fmt.Errorf("add a packet to the pcapng file: %w", err)
	}
	return w.flush()
}

// Made counts the packets whose headers were not read.
func (w *Writer) Made() int { return w.made }

// interfaceOf is the number of a header's device in the file.
func (w *Writer) interfaceOf(h *trace.Header, t *trace.Trace) (int, error) {
	name := cmp.Or(h.Device, unknownDevice)
	index, known := w.interfaces[name]
	if known {
		return index, nil
	}
	description := fmt.Sprintf("index %d", h.Ifindex)
	for _, hook := range t.Hooks {
		if hook.Device == name {
			description = fmt.Sprintf("%s, index %d", hook.Role, h.Ifindex)
		}
	}
	index, err := w.ng.AddInterface(newInterface(name, description))
	if err == nil {
		w.interfaces[name] = index
	}
	return index, err
}

// truncater is a file. A pipe, which is none that can, answers EINVAL.
type truncater interface{ Truncate(size int64) error }

// flush writes what is to be written. Of what a full disk has taken of it, nothing stays.
func (w *Writer) flush() error {
	if err := w.ng.Flush(); err != nil {
		return err
	}
	defer w.block.Reset()
	n, err := w.to.Write(w.block.Bytes())
	if err == nil {
		w.written += int64(n)
		return nil
	}
	if file, ok := w.to.(truncater); ok && n > 0 {
		if e := file.Truncate(w.written); e != nil && !errors.Is(e, os.ErrInvalid) && !errors.Is(e, syscall.EINVAL) {
			err = errors.Join(err, e)
		}
	}
	return fmt.Errorf("write the pcapng file: %w", err)
}
