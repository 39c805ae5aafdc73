package format

import "testing"

func TestSpark(t *testing.T) {
	t.Parallel()
	one, half, none := 1.0, 0.5, 0.0
	if got := Spark([]*float64{&half, nil, &one, &none}, 3); got != " █▁" {
		t.Errorf("%q", got)
	}
}
