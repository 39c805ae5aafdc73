package main

import (
	"maps"
	"strings"
	"testing"
)

func TestExpectQdisc(t *testing.T) {
	t.Parallel()
	got, err := expectFlag{"eth0=tbf", "bond0.7=fq_codel", "eth0=tbf"}.parse()
	if want := map[string]string{"eth0": "tbf", "bond0.7": "fq_codel"}; err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for text, want := range map[string]string{
		"eth0":                   "give device=kind",
		"=tbf":                   "give device=kind",
		"eth0=":                  "give device=kind",
		"eth0=tfb":               `there is no qdisc "tfb"; choose one of`,
		"eth*=tbf":               "no name of a device",
		"averylongdevicenam=tbf": "no name of a device",
	} {
		if _, err := (expectFlag{text}).parse(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
	if _, err := (expectFlag{"eth0=tbf", "eth0=htb"}).parse(); err == nil || !strings.Contains(err.Error(), "cannot have both") {
		t.Error(err)
	}
}
