package loader

import "time"

const (
	// paceFree is how many moves may be made at once, paceFirst how long the next one waits, paceMost the longest wait.
	paceFree  = 8
	paceFirst = 4 * time.Second
	paceMost  = 5 * time.Minute
	// paceReset is how long a hook must have stood well, beyond its wait, to be as new.
	paceReset = time.Minute
)

// pace spaces the moves of a hook, for the sake of somebody who wants to be first too: after some, each waits twice as long
// as the one before it.
type pace struct {
	last  time.Duration
	moves int
}

func (p *pace) wait() time.Duration {
	wait := time.Duration(0)
	for i := p.moves; i >= paceFree && wait < paceMost; i-- {
		wait = min(max(2*wait, paceFirst), paceMost)
	}
	return wait
}

func (p *pace) allowed(now time.Duration) bool { return now-p.last >= p.wait() }

func (p *pace) moved(now time.Duration) {
	if now-p.last > p.wait()+paceReset {
		p.moves = 0
	}
	p.last = now
	p.moves++
}
