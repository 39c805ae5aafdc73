package format

import "testing"

func TestSeconds(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{
		0: "0s", 3e-9: "3ns", 20e-6: "20µs", 12.345e-6: "12.3µs", 0.5012: "501ms", 1.5: "1.5s", 75: "1m15s",
	} {
		if got := Seconds(s); got != want {
			t.Errorf("%v s is %q, want %q", s, got, want)
		}
	}
}

func TestCounted(t *testing.T) {
	t.Parallel()
	for n, want := range map[string]string{"0": "0 packets", "1": "1 packet", "1.5k": "1.5k packets"} {
		if got := Counted(n, "packet"); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		from, length, total float64
		want                string
	}{
		{0, 10, 10, "████████"},
		{0, 5, 10, "████"},
		{5, 5, 10, "    ████"},
		{10, 0, 10, "       █"}, // the least thing is seen
		{0, 0.001, 10, "█"},
		{1, 1, 0, ""},
	} {
		if got := Bar(test.from, test.length, test.total, 8); got != test.want {
			t.Errorf("%+v: %q", test, got)
		}
	}
}
