package k8srig

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if len(os.Args) == 4 && os.Args[1] == "send" {
		if err := sendForever(os.Args[2], os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	MainOfNode()
	if len(os.Args) == 3 && os.Args[1] == "get" {
		os.Exit(get(os.Args[2]))
	}
	// Before there is no network.
	if !Isolated() {
		if _, err := Fetch(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "k8srig:", err)
			os.Exit(1)
		}
	}
	os.Exit(Isolate(m.Run))
}

// sendForever sends so many packets a second, some each 10 ms.
func sendForever(to, perSecond string) error {
	count, err := strconv.Atoi(perSecond)
	if err != nil {
		return err
	}
	c, err := net.Dial("udp", to)
	if err != nil {
		return err
	}
	for range time.Tick(10 * time.Millisecond) {
		for range count / 100 {
			_, _ = c.Write([]byte("packet")) // refused, when nobody listens
		}
	}
	return nil
}

// get prints a page.
func get(url string) int {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(url)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil || response.StatusCode != http.StatusOK {
		fmt.Fprintln(os.Stderr, response.Status, err)
		return 1
	}
	return 0
}

// tools are in the cache by now.
func tools(t testing.TB) Tools {
	t.Helper()
	tools, err := Fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return tools
}
