// Command app is what runs in the test cluster's pods: without arguments nothing, which is also what holds a pod's
// namespaces; "serve ADDRESS" answers HTTP; "call URL" asks for it over and over.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) == 3 {
		switch os.Args[1] {
		case "serve":
			go serve(os.Args[2])
		case "call":
			go call(os.Args[2])
		}
	}
	<-stop
}

func serve(address string) {
	page := strings.Repeat("x", 4096)
	err := http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, page)
	}))
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// call opens a connection each time, so that each request may go to another backend.
func call(url string) {
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for range time.Tick(20 * time.Millisecond) {
		response, err := client.Get(url)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			continue
		}
		_, _ = io.Copy(io.Discard, response.Body)
		response.Body.Close()
	}
}
