package latenames

import "tracer/internal/record"

// blockBytes is the size of a block: some hundred records.
const blockBytes = 32 << 10

// queue holds records in the order in which they came. They are encoded, in blocks that come and go: as they are, many
// records that wait for a name would take more memory than all names of the cluster.
type queue struct {
	first, last *block
	spare       *block // emptied last: while as many records go as come, it is the next one that is needed
	rest        []byte // of the first block, behind what was decoded
	extras      int    // of the first block that were decoded
	current     record.Record
	decoded     bool // current is the front
	len         int
}

type block struct {
	data   []byte
	extras []extra
	next   *block
}

func (q *queue) push(r *record.Record) {
	if q.last == nil || cap(q.last.data)-len(q.last.data) < maxEncoded {
		q.grow()
	}
	b := q.last
	before := len(b.data)
	b.data = encode(b.data, r)
	if hasExtra(r) {
		b.extras = append(b.extras, extraOf(r))
	}
	if b == q.first {
		q.rest = b.data[before-len(q.rest):]
	}
	q.len++
}

func (q *queue) grow() {
	b := q.spare
	if q.spare = nil; b == nil {
		b = &block{data: make([]byte, 0, blockBytes)}
	}
	if q.last == nil {
		q.first = b
	} else {
		q.last.next = b
	}
	q.last = b
}

// front is the oldest record, valid until the next one is. There must be one.
func (q *queue) front() *record.Record {
	if q.decoded {
		return &q.current
	}
	if len(q.rest) == 0 {
		q.advance()
	}
	var withExtra bool
	if q.rest, withExtra = decode(q.rest, &q.current); withExtra {
		q.first.extras[q.extras].set(&q.current)
		q.extras++
	}
	q.decoded = true
	return &q.current
}

// advance leaves the first block, which is read, for the next one.
func (q *queue) advance() {
	b := q.first
	q.first, q.rest, q.extras = b.next, b.next.data, 0
	clear(b.extras)
	*b = block{data: b.data[:0], extras: b.extras[:0]}
	q.spare = b
}

// pop removes the front.
func (q *queue) pop() {
	q.front()
	q.decoded = false
	q.len--
}
