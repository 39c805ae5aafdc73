package agent

import (
	"os"
	"runtime/debug"
)

// collectAt is by how many percent the heap may grow between two collections. An agent's heap lives long and little is
// added to it in a second, so that collecting more often than Go does by itself costs less than it saves.
const collectAt = 25

// CollectGarbageEarly makes this process collect garbage early, unless $GOGC says when.
func CollectGarbageEarly() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}
