// Scale measures what a large cluster asks of one agent, and of Prometheus:
//
//	go run ./test/scale
//
// A simulated API server streams the pods, Services and EndpointSlices of thousands of nodes, and has pods come and go; a real agent on
// one of the nodes knows them by name, while it traces real packets to pods of others. It needs root, and build/tracer.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	o := options{}
	flag.IntVar(&o.nodes, "nodes", 5_000, "nodes")
	flag.IntVar(&o.pods, "pods", 150_000, "pods, spread evenly over nodes and Services")
	flag.IntVar(&o.services, "services", 10_000, "Services")
	flag.IntVar(&o.podBytes, "pod-bytes", 9_200, "bytes of a pod in protobuf")
	flag.Float64Var(&o.changes, "changes", 10, "pods that are replaced in a second, in the whole cluster")
	flag.DurationVar(&o.watch, "watch", time.Minute, "for how long they are")
	flag.IntVar(&o.peers, "peers", 100, "pods of other nodes that a pod of the agent's node sends to")
	flag.Float64Var(&o.rate, "rate", 500, "packets a second to them")
	flag.BoolVar(&o.streams, "streaming-lists", true, "the API server has them, as from Kubernetes 1.34 on")
	flag.StringVar(&o.binary, "tracer", "build/tracer", "the program")
	scopes := flag.String("scopes", "file,node,again,cluster", "which agents, one after another: file asks no API server, again is the one in node scope after a restart")
	limit := flag.Float64("limit", 80, "MiB that an agent in node scope may have resident")
	check := flag.Bool("check", false, "exit 1 if it has more")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	all, err := measure(ctx, o, strings.Split(*scopes, ","), func(format string, values ...any) { fmt.Fprintf(os.Stderr, "scale: "+format+"\n", values...) })
	stop()
	write(os.Stdout, o, all)
	if err == nil && *check {
		err = exceeded(all, *limit)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}
