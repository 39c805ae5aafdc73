package identity

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The wire format of a list: a magic, then a runtime.Unknown whose field 2 is the list, of whose fields 1 is the
// metadata and 2 each item.
const (
	unknownRaw  = 2
	listMeta    = 1
	listItem    = 2
	bytesType   = 2
	maxListItem = 16 << 20 // more than etcd takes
)

var listMagic = [4]byte{'k', '8', 's', 0}

// decodeList reads a list in protobuf as it comes, and hands over each item's bytes, which are valid until the next. A
// server without streaming lists answers a request to its cache in one piece, in a large cluster hundreds of megabytes,
// of which this holds one item at a time.
func decodeList(r io.Reader, item func([]byte) error) (metav1.ListMeta, error) {
	var meta metav1.ListMeta
	d := decoder{r: bufio.NewReaderSize(r, 64<<10)}
	var magic [4]byte
	if _, err := io.ReadFull(d.r, magic[:]); err != nil {
		return meta, fmt.Errorf("read list: %w", err)
	}
	if magic != listMagic {
		return meta, errors.New("read list: the answer is not in Kubernetes' protobuf format")
	}
	var buffer []byte
	for {
		field, size, err := d.next()
		if errors.Is(err, io.EOF) {
			return meta, nil
		} else if err != nil {
			return meta, fmt.Errorf("read list: %w", err)
		}
		if field != unknownRaw {
			if _, err := d.r.Discard(size); err != nil {
				return meta, fmt.Errorf("read list: %w", err)
			}
			continue
		}
		for end := d.read + uint64(size); d.read < end; {
			field, size, err := d.next()
			if err != nil {
				return meta, fmt.Errorf("read list: %w", noEOF(err))
			}
			if size > maxListItem {
				return meta, fmt.Errorf("read list: an item of %d bytes", size)
			}
			if cap(buffer) < size {
				buffer = make([]byte, size)
			}
			buffer = buffer[:size]
			n, err := io.ReadFull(d.r, buffer)
			d.read += uint64(n)
			if err != nil {
				return meta, fmt.Errorf("read list: %w", noEOF(err))
			}
			switch field {
			case listMeta:
				err = meta.Unmarshal(buffer)
			case listItem:
				err = item(buffer)
			}
			if err != nil {
				return meta, fmt.Errorf("read list: %w", err)
			}
		}
	}
}

// decoder reads protobuf fields, all of which are of the type that has a length.
type decoder struct {
	r    *bufio.Reader
	read uint64
}

func (d *decoder) next() (field, size int, err error) {
	tag, err := binary.ReadUvarint(d)
	if err != nil {
		return 0, 0, err
	}
	if tag&7 != bytesType {
		return 0, 0, fmt.Errorf("field %d of type %d", tag>>3, tag&7)
	}
	n, err := binary.ReadUvarint(d)
	if err != nil {
		return 0, 0, noEOF(err)
	}
	if n > 1<<40 {
		return 0, 0, fmt.Errorf("field %d of %d bytes", tag>>3, n)
	}
	return int(tag >> 3), int(n), nil
}

// ReadByte counts, for the ends of nested messages.
func (d *decoder) ReadByte() (byte, error) {
	b, err := d.r.ReadByte()
	if err == nil {
		d.read++
	}
	return b, err
}

// noEOF is for places where the end comes too early.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
