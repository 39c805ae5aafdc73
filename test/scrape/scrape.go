// Package scrape reads an agent's metrics where it runs, as text.
package scrape

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Sample is a series with its value. Its labels are as they stand between the braces.
type Sample struct {
	Name, Labels string
	Value        float64
}

// Client reads in one network namespace.
type Client struct{ http http.Client }

// New returns a client that opens its connections within what in does.
func New(in func(func() error) error) *Client {
	return &Client{http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = in(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}}}
}

// Read returns the series of the agent that listens there.
func (c *Client) Read(ctx context.Context, address string) (all []Sample, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return nil, err
	}
	return Parse(response)
}

// Parse reads the series of an agent's answer, and closes it.
func Parse(response *http.Response) (all []Sample, err error) {
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return nil, errors.New(response.Status)
	}
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		space := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || space < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("read the series %q: %w", line, err)
		}
		name, labels, _ := strings.Cut(line[:space], "{")
		all = append(all, Sample{name, strings.TrimSuffix(labels, "}"), value})
	}
	return all, scanner.Err()
}
