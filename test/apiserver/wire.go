package apiserver

import (
	"encoding/binary"
	"errors"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Marshaler is an object that can be written as protobuf.
type Marshaler interface{ Marshal() ([]byte, error) }

// Wrapped is an object in the envelope that Kubernetes' protobuf has.
func Wrapped(version, kind string, object Marshaler) ([]byte, error) {
	raw, err := object.Marshal()
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: version, Kind: kind}, Raw: raw}
	data, wrapErr := unknown.Marshal()
	return append([]byte("k8s\x00"), data...), errors.Join(err, wrapErr)
}

// Event is one of a watch, behind its length: what became of an object that is Wrapped.
func Event(what string, object []byte) ([]byte, error) {
	event, err := (&metav1.WatchEvent{Type: what, Object: runtime.RawExtension{Raw: object}}).Marshal()
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(event))), event...), err
}
