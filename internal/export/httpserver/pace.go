package httpserver

import "time"

// pace has those who come wait for their turn, one behind the other: there are so many turns a second on average. Those of up to one
// second that nobody took may be taken at once.
type pace struct {
	turn  chan struct{} // held by the first who waits
	every time.Duration
	next  time.Time // of the holder: when its turn is
}

func newPace(perSecond int) *pace {
	return &pace{turn: make(chan struct{}, 1), every: time.Second / time.Duration(perSecond)}
}

// wait returns once it is the caller's turn, with false if ended was closed before.
func (p *pace) wait(ended <-chan struct{}) bool {
	select {
	case p.turn <- struct{}{}:
	case <-ended:
		return false
	}
	defer func() { <-p.turn }()
	now := time.Now()
	if earliest := now.Add(-time.Second); p.next.Before(earliest) {
		p.next = earliest
	}
	if early := p.next.Sub(now); early > 0 {
		timer := time.NewTimer(early)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ended:
			return false
		}
	}
	p.next = p.next.Add(p.every)
	return true
}
