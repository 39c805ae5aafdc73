package events

import (
	"context"
	"fmt"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// requestTimeout is how long one request may take.
const requestTimeout = 10 * time.Second

type apiServer struct{ client rest.Interface }

// NewSink returns the API server's Events. It makes no request.
func NewSink(config *rest.Config) (Sink, error) {
	version := schema.GroupVersion{Group: "events.k8s.io", Version: "v1"}
	scheme := runtime.NewScheme() // of this kind alone: one with all kinds would double the program
	scheme.AddKnownTypes(version, &eventsv1.Event{}, &eventsv1.EventList{})
	metav1.AddToGroupVersion(scheme, version)
	metav1.AddToGroupVersion(scheme, schema.GroupVersion{Version: "v1"})
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/apis", &version
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	config.Timeout = requestTimeout
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client for Events: %w", err)
	}
	return apiServer{client}, nil
}

// Create writes an Event.
func (s apiServer) Create(ctx context.Context, e *eventsv1.Event) error {
	err := s.client.Post().Namespace(e.Namespace).Resource("events").Body(e).MaxRetries(0).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("create an Event: %w", err)
	}
	return nil
}

// Patch changes one.
func (s apiServer) Patch(ctx context.Context, namespace, name string, patch []byte) error {
	err := s.client.Patch(types.MergePatchType).Namespace(namespace).Resource("events").Name(name).Body(patch).MaxRetries(0).Do(ctx).Error()
	if err != nil {
		return fmt.Errorf("change an Event: %w", err)
	}
	return nil
}
