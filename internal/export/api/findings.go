package api

import (
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// ActiveFindings are the findings that hold by the agent's latest diagnosis. It makes one every few seconds.
type ActiveFindings struct {
	Judged   time.Time       `json:"judged"` // when the latest diagnosis was made; zero if there is none yet
	Findings []ActiveFinding `json:"findings"`
	// Coverage is how much of the packets is seen, by device and direction.
	Coverage []diagnose.Coverage `json:"coverage"`
}

// ActiveFinding is one of them.
type ActiveFinding struct {
	diagnose.ActiveFinding
	Role netdev.Role `json:"role"` // of its device
}
