package device

import (
	"errors"
	"strings"
	"testing"

	"tracer/internal/netdev"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	devices := []netdev.Device{
		{Index: 1, Name: "lo", Role: netdev.RoleOther},
		{Index: 2, Name: "eno1", Role: netdev.RoleUplink, Leaves: true},
		{Index: 3, Name: "bond0", Role: netdev.RoleUplink, Lower: []int{2}},
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Leaves: true},
		{Index: 5, Name: "dummy0", Role: netdev.RoleOther},
	}
	tests := []struct {
		patterns string
		want     string // name:role, with an asterisk where packets leave
	}{
		{"", "lo:other eno1:uplink* bond0:uplink cali1:pod* dummy0:other"},
		{"cali*", "cali1:pod*"},
		{"cali1 eno?", "eno1:uplink* cali1:pod*"},
		{"bond0", "bond0:uplink*"},
		{"uplink=dummy*", "lo:other eno1:uplink* bond0:uplink cali1:pod* dummy0:uplink*"},
		{"bond0 pod=dummy0", "bond0:uplink* dummy0:pod*"},
		{"other=eno1", "lo:other eno1:other bond0:uplink* cali1:pod* dummy0:other"},
		{"other=* pod=dummy0", "lo:other eno1:other bond0:other cali1:other dummy0:pod*"},
		{"[bd]*[0-9]", "bond0:uplink* dummy0:other"},
	}
	for _, test := range tests {
		selected, err := Match(strings.Fields(test.patterns), devices)
		if err != nil {
			t.Errorf("%q: %v", test.patterns, err)
		}
		var got []string
		for _, d := range selected {
			text := d.Name + ":" + d.Role.String()
			if d.Leaves {
				text += "*"
			}
			got = append(got, text)
		}
		if got := strings.Join(got, " "); got != test.want {
			t.Errorf("%q:\n got %s\nwant %s", test.patterns, got, test.want)
		}
	}
	if devices[4].Role != netdev.RoleOther || devices[2].Leaves {
		t.Error("Match changed the devices that it was given")
	}
}

func TestMatchErrors(t *testing.T) {
	t.Parallel()
	devices := []netdev.Device{{Name: "eth0"}, {Name: "cali1"}}
	for pattern, want := range map[string]string{
		"eth[":       "syntax error",
		"x[":         "syntax error",
		"uplnk=eth0": `unknown role "uplnk"; the roles are pod, overlay, uplink`,
		"":           "is empty",
		"pod=":       "is empty",
	} {
		selected, err := Match([]string{"eth0", pattern}, devices)
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, errNoMatch) || selected != nil {
			t.Errorf("%q: got %v, %v", pattern, selected, err)
		}
	}

	selected, err := Match([]string{"ens*", "cali*", "pod=azv*"}, devices)
	if !errors.Is(err, errNoMatch) || len(selected) != 1 || selected[0].Name != "cali1" {
		t.Errorf("got %v, %v", selected, err)
	}
	for _, want := range []string{`"ens*"`, `"pod=azv*"`, "devices here: eth0, cali1"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in the message: %v", want, err)
		}
	}
}
