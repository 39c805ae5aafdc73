package identity

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// encodeList writes a list as an API server does.
func encodeList(t testing.TB, names ...string) []byte {
	t.Helper()
	list := corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "42"}}
	for _, n := range names {
		list.Items = append(list.Items, *aPod(n, "node1", "10.0.0.1"))
	}
	raw, err := list.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	unknown := runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Raw: raw}
	data, err := unknown.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return append(listMagic[:], data...)
}

func decodeNames(r io.Reader) (names []string, version string, err error) {
	meta, err := decodeList(r, func(data []byte) error {
		p, err := decodePod(data)
		if err == nil {
			names = append(names, p.(*corev1.Pod).Name)
		}
		return err
	})
	return names, meta.ResourceVersion, err
}

func TestDecodeList(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 100_000) // more than a buffer
	for _, want := range [][]string{nil, {"a"}, {"a", long, "c"}} {
		data := encodeList(t, want...)
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(data), "in bytes": iotest.OneByteReader(bytes.NewReader(data))} {
			names, version, err := decodeNames(r)
			if err != nil || version != "42" || strings.Join(names, " ") != strings.Join(want, " ") {
				t.Errorf("%s: %d names at version %q, %v; want %d", name, len(names), version, err, len(want))
			}
		}
	}
}

func TestDecodeListErrors(t *testing.T) {
	t.Parallel()
	data := encodeList(t, "a", "b")
	for cut := range len(data) - 4 { // behind the list are two empty fields that may be missing
		if _, _, err := decodeNames(bytes.NewReader(data[:cut])); cut < 4 && err == nil {
			t.Errorf("cut at %d: no error", cut)
		} else if cut > 30 && cut < len(data)-20 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if _, _, err := decodeNames(strings.NewReader(`{"kind":"PodList"}`)); err == nil || !strings.Contains(err.Error(), "protobuf") {
		t.Errorf("JSON: %v", err)
	}
	if _, _, err := decodeNames(iotest.ErrReader(io.ErrClosedPipe)); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("broken: %v", err)
	}
}

func FuzzDecodeList(f *testing.F) {
	f.Add(encodeList(f))
	f.Add(encodeList(f, "a", "b"))
	f.Add([]byte("k8s\x00\x12\xff\xff\xff\xff\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if names, _, err := decodeNames(bytes.NewReader(data)); err == nil && len(names) > len(data) {
			t.Errorf("%d names in %d bytes", len(names), len(data))
		}
	})
}
