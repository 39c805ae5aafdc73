package aggregate

// flowList is the flows in the order in which they were last seen, for the eviction of the least recently seen one.
type flowList struct {
	newest, oldest *flow
}

func (l *flowList) push(f *flow) {
	f.newer, f.older = nil, l.newest
	if l.newest != nil {
		l.newest.newer = f
	} else {
		l.oldest = f
	}
	l.newest = f
}

func (l *flowList) remove(f *flow) {
	if f.newer != nil {
		f.newer.older = f.older
	} else {
		l.newest = f.older
	}
	if f.older != nil {
		f.older.newer = f.newer
	} else {
		l.oldest = f.newer
	}
}
