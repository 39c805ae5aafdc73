// Command app is what runs in the test cluster's pods: without arguments nothing, which is also what holds a pod's
// namespaces; "serve ADDRESS" answers HTTP, with as many bytes as the path says, and sends UDP packets back; "call URL" asks
// for it over and over; "get URL" once; "count NAME=ADDRESS..." sends UDP packets and counts the answers; "exchange N ADDRESS"
// sends N UDP packets, each when the one before is answered, and "fetch N URL" asks N times.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "serve":
			go serve(os.Args[2])
			go echo(os.Args[2])
		case "call":
			go call(os.Args[2])
		case "get":
			get(os.Args[2])
			return
		case "count":
			go count(os.Args[2:])
		case "exchange", "fetch":
			times(os.Args[1], os.Args[2], os.Args[3])
			return
		}
	}
	<-stop
}

func serve(address string) {
	fail(http.ListenAndServe(address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		size, err := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/"))
		if err != nil {
			size = 4096
		}
		fmt.Fprintln(w, strings.Repeat("x", size))
	})))
}

func echo(address string) {
	c, err := net.ListenPacket("udp", address)
	if err != nil {
		fail(err)
	}
	roomy(c.(*net.UDPConn))
	packet := make([]byte, 2048)
	for {
		n, from, err := c.ReadFrom(packet)
		if err != nil {
			fail(err)
		}
		if _, err := c.WriteTo(packet[:n], from); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
}

// roomy: on a busy machine a packet that waits long for its reader is not to be lost in the socket. Beyond what the machine
// allows everybody it takes CAP_NET_ADMIN.
func roomy(c *net.UDPConn) {
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) {
			if syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUFFORCE, 4<<20) != nil {
				_ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<20)
			}
		})
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func get(url string) {
	client := http.Client{Timeout: time.Second}
	response, err := client.Get(url)
	if err != nil {
		fail(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(os.Stdout, response.Body); err != nil {
		fail(err)
	}
	if response.StatusCode != http.StatusOK {
		fail(fmt.Errorf("%s", response.Status))
	}
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

// times sends a packet and waits for its answer, or asks for a page, that many times.
func times(what, number, where string) {
	n, err := strconv.Atoi(number)
	if err != nil {
		fail(err)
	}
	client := http.Client{Timeout: 5 * time.Second}
	conn, err := net.Dial("udp", where)
	if what == "exchange" && err != nil {
		fail(err)
	}
	data := make([]byte, packet)
	for range n {
		if what == "fetch" {
			if response, err := client.Get(where); err == nil {
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
			continue
		}
		_, _ = conn.Write(data)
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = conn.Read(data)
		time.Sleep(time.Millisecond) // an agent need not sample so few
	}
}
