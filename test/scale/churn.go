package main

import (
	"context"
	"time"
)

// replace has a pod end and another one of its workload take its place: all that Kubernetes tells of that.
func (s *server) replace(i int) error {
	for _, step := range []struct {
		state    podState
		pod      string // the pod's event
		next     bool   // the pod is gone, and the one in its place begins
		endpoint bool   // the EndpointSlice changes
	}{
		{state: terminating, pod: "MODIFIED", endpoint: true}, // it is deleted: its endpoint is ending
		{state: terminating, pod: "DELETED", next: true},      // its containers have ended
		{state: pending, pod: "ADDED", endpoint: true},        // the next one, which the scheduler has placed
		{state: unready, pod: "MODIFIED", endpoint: true},     // it has an address
		{state: running, pod: "MODIFIED", endpoint: true},     // it is ready
	} {
		s.mu.Lock()
		s.cluster.state[i] = step.state
		err := s.tell(step.pod, "pods", i)
		if step.next {
			s.cluster.replaced[i]++
		}
		if step.state == running {
			delete(s.cluster.state, i)
		}
		if err == nil && step.endpoint {
			err = s.tell("MODIFIED", "endpointslices", s.cluster.sliceOfPod(i))
		}
		s.mu.Unlock()
		if err != nil {
			return err
		}
	}
	return nil
}

// churn replaces so many pods a second, of all nodes, until ctx ends. It returns how many it has replaced.
func (s *server) churn(ctx context.Context, perSecond float64) (replaced int, err error) {
	tick := time.NewTicker(time.Duration(float64(time.Second) / perSecond))
	defer tick.Stop()
	for i := 0; ; replaced++ {
		select {
		case <-ctx.Done():
			return replaced, nil
		case <-tick.C:
		}
		// One after another of pods that are far apart: those of the first node are the agent's own, and some stay.
		i = (i + 7919) % s.cluster.pods
		if _, own := s.cluster.placed[i]; own {
			continue
		}
		if err := s.replace(i); err != nil {
			return replaced, err
		}
	}
}
