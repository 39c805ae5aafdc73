package main

import (
	"context"
	"fmt"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"tracer/internal/identity"
)

// TestNames: an agent's client knows the whole cluster by what the server sends, and follows what changes.
func TestNames(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		scope   identity.Scope
		streams bool
	}{{identity.NodeScope, true}, {identity.ClusterScope, true}, {identity.NodeScope, false}, {identity.ClusterScope, false}} {
		t.Run(fmt.Sprintf("%s streams=%t", test.scope, test.streams), func(t *testing.T) {
			t.Parallel()
			c := newCluster(size{nodes: 10, pods: 600, services: 20, podBytes: 2000})
			s := newServer(c, test.streams)
			web := httptest.NewUnstartedServer(s)
			web.EnableHTTP2 = true
			web.StartTLS()
			t.Cleanup(web.Close)
			t.Cleanup(web.CloseClientConnections)
			k, err := identity.NewKubernetes(identity.KubernetesOptions{
				Config: &rest.Config{Host: web.URL, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}, Node: nodeName(0), Scope: test.scope,
				Clock: func() time.Duration { return time.Hour },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- k.Run(ctx) }()
			t.Cleanup(func() {
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
			named := func(i int) func() bool {
				return func() bool {
					s.mu.Lock()
					address, pod, workload := c.address(i), c.podName(i), c.workload(i)
					s.mu.Unlock()
					id := k.Lookup(address, time.Hour)
					return id.Pod == pod && id.Workload == workload
				}
			}
			for i := range c.pods {
				await(t, named(i))
			}
			// Services come by another watch than pods.
			await(t, func() bool { return k.Lookup(address(10<<24|96<<16, 7), time.Hour).Service == serviceName(7) })
			for _, i := range []int{0, 7, 333} {
				if err := s.replace(i); err != nil {
					t.Fatal(err)
				}
				await(t, named(i))
			}
		})
	}
}

func await(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("an address has not got its name within two minutes")
		}
	}
}
