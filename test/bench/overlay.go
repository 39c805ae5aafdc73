package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// overlay is a lab with nearly no load of its own: pods on two nodes, and a tunnel between these.
type overlay struct {
	*lab.Lab
	dir      string // of the lab's and the agents' files
	web, api lab.Pod
}

func newOverlay(ctx context.Context) (_ *overlay, err error) {
	o := &overlay{}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("build an overlay: %w", err), o.Close())
		}
	}()
	if o.dir, err = os.MkdirTemp("", "tracer-bench-"); err != nil {
		return nil, err
	}
	o.Lab, err = lab.Up(ctx, lab.Options{
		Name: "bench" + strconv.FormatUint(uint64(rand.Uint32()), 36), RunDir: o.dir, Pods: []lab.PodSpec{},
		Load: load.Config{Rate: 1, Size: load.MinSize},
	})
	if err != nil {
		return nil, err
	}
	o.web, _ = o.Pod(lab.Web)
	o.api, _ = o.Pod(lab.API)
	return o, nil
}

// Close takes the lab down.
func (o *overlay) Close() error {
	var err error
	if o.Lab != nil {
		err = o.Down()
	}
	return errors.Join(err, os.RemoveAll(o.dir))
}

// settle waits until what an earlier run left in queues and sockets is gone.
func settle(ctx context.Context) error {
	const pause = 20 * time.Millisecond
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(pause):
		return nil
	}
}

// podNames are the names of the overlay's pods.
func podNames(pods []lab.Pod) names {
	n := names{}
	for _, p := range pods {
		n[p.Address] = aggregate.Identity{Namespace: "default", Workload: p.Name, Pod: p.PodName, Node: p.Node}
	}
	return n
}
