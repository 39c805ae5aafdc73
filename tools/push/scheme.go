package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// isPlainHTTP tells whether a registry has no TLS. It is asked by TLS first; without, only if it is on this machine or in a
// private network, where nobody takes its place to read credentials.
func isPlainHTTP(ctx context.Context, registry name.Registry) (bool, error) {
	if registry.Scheme() == "https" {
		return false, nil
	}
	err := ask(ctx, "https", registry)
	// Refused is what has no port in its name, where TLS has one and HTTP another.
	if !errors.Is(err, http.ErrSchemeMismatch) && !errors.Is(err, syscall.ECONNREFUSED) {
		return false, err
	}
	if plain := ask(ctx, "http", registry); plain != nil {
		return false, fmt.Errorf("%w; without TLS: %w", err, plain)
	}
	return true, nil
}

// ask asks a registry whether it is one; whether it wants credentials is the same to us.
func ask(ctx context.Context, scheme string, registry name.Registry) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+registry.RegistryStr()+"/v2/", nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// transport is what the image is pushed by: as the chart is, by one scheme alone.
func transport(plainHTTP bool) http.RoundTripper {
	if plainHTTP {
		return remote.DefaultTransport
	}
	return onlyTLS{}
}

// onlyTLS is the default transport, but for requests without TLS.
type onlyTLS struct{}

func (onlyTLS) RoundTrip(request *http.Request) (*http.Response, error) {
	if request.URL.Scheme != "https" {
		return nil, fmt.Errorf("%s: the registry has TLS, and this is without", request.URL.Redacted())
	}
	return remote.DefaultTransport.RoundTrip(request)
}
