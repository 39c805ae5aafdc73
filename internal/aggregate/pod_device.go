package aggregate

// WorkloadsBehind are the workloads of this node's pods by the index of their device, as namespace/name, as far as packets
// of theirs have told lately.
func (a *Aggregator) WorkloadsBehind() map[int]string {
	a.mu.Lock()
	defer a.mu.Unlock()
	behind := map[int]string{}
	for c := range a.conversations.all {
		for end := range c.end {
			s := &c.end[end]
			if s.node == 0 || s.pair == nil || s.pair.SrcWorkload == UnknownWorkload || s.pair.SrcWorkload == OtherWorkload {
				continue
			}
			if _, known := behind[int(s.node)]; !known {
				name := s.pair.SrcWorkload
				if s.pair.SrcNamespace != "" {
					name = s.pair.SrcNamespace + "/" + name
				}
				behind[int(s.node)] = name
			}
		}
	}
	return behind
}
