package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// leastSamplingKey is the least length of a key, in bytes: what is shorter can be guessed.
const leastSamplingKey = 16

// readSamplingKey reads what all agents of a cluster share: from a file, or the environment; "" if neither is given.
func readSamplingKey(file string) (string, error) {
	key, from := os.Getenv("SAMPLING_KEY"), "$SAMPLING_KEY"
	if file != "" {
		text, err := os.ReadFile(file)
		if err != nil {
			return "", fmt.Errorf("--sampling-key-file: %w", err)
		}
		key, from = strings.TrimSpace(string(text)), "--sampling-key-file "+file
	}
	if file == "" && key == "" {
		return "", nil
	}
	if len(key) < leastSamplingKey {
		return "", errors.New(from + " has fewer than 16 bytes: give a random key, such as of head -c 24 /dev/urandom | base64")
	}
	return key, nil
}
