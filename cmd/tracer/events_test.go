package main

import (
	"strings"
	"testing"
)

// TestEventsNeedCluster refuses to write Events where there is nobody to write them to.
func TestEventsNeedCluster(t *testing.T) {
	t.Parallel()
	f := agentFlags{events: true}
	if _, err := f.eventRecorder(&node{}); err == nil || !strings.Contains(err.Error(), "--kubeconfig") {
		t.Errorf("%v", err)
	}
	if r, err := new(agentFlags).eventRecorder(&node{}); r != nil || err != nil {
		t.Errorf("%v, %v without --events", r, err)
	}
}
