//go:build linux

package api

import (
	"bytes"
	"encoding/json"
	"iter"
)

// encoded makes each object a line of JSON, and sends it as soon as it is there. An error is the last line.
func encoded[T any](objects iter.Seq2[T, error], send func(lines []byte) error) {
	var line bytes.Buffer
	for object, err := range objects {
		line.Reset()
		if err != nil {
			_ = send(errorLine(err))
			return
		}
		if err := json.NewEncoder(&line).Encode(object); err != nil {
			_ = send(errorLine(err))
			return
		}
		if send(line.Bytes()) != nil {
			return // the client is gone
		}
	}
}

// relay sends lines as they are.
func relay(lines iter.Seq2[[]byte, error], send func(lines []byte) error) {
	for some, err := range lines {
		if err != nil {
			_ = send(errorLine(err))
			return
		}
		if send(some) != nil {
			return // the client is gone
		}
	}
}

func errorLine(err error) []byte {
	line, _ := json.Marshal(apiError{err.Error()})
	return append(line, '\n')
}
