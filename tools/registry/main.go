// Command registry serves an empty registry from memory, for tests: registry ADDRESS.
package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"

	"github.com/google/go-containerregistry/pkg/registry"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "registry: say where to listen")
		os.Exit(1)
	}
	err := http.ListenAndServe(os.Args[1], registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	fmt.Fprintln(os.Stderr, "registry:", err)
	os.Exit(1)
}
