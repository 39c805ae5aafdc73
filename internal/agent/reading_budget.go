package agent

import "time"

const (
	// readEvery is how often what a loss calls for is read at most, and readShare the part of a core that it may take; who asks for
	// a diagnosis waits for neither, but askEvery.
	readEvery, readShare = 2 * time.Second, 1.0 / 500
	askEvery             = time.Second
)

// readingCost is when something was read last, and how long it took.
type readingCost struct {
	at   time.Time
	took time.Duration
}

// due tells whether it may be read again. asked tells that somebody waits for a diagnosis.
func (c readingCost) due(now time.Time, asked bool) bool {
	wait := askEvery
	if !asked {
		wait = max(readEvery, time.Duration(float64(c.took)/readShare))
	}
	return now.Sub(c.at) >= wait
}
