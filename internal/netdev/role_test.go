package netdev

import "testing"

func TestRoleText(t *testing.T) {
	for _, role := range []Role{RoleOther, RolePod, RoleOverlay, RoleUplink, RoleBridge, RoleIFB} {
		text, err := role.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Role
		if err := back.UnmarshalText(text); err != nil || back != role {
			t.Errorf("%s is read as %s: %v", role, back, err)
		}
	}
	var r Role
	if err := r.UnmarshalText([]byte("wan")); err == nil {
		t.Errorf("wan is read as %s", r)
	}
	if got := Role(200).String(); got != "role(200)" {
		t.Errorf("an unknown role is written as %s", got)
	}
}

// TestRoleHooked: what leads out, what pods have and what others redirect packets to is seen, and nothing else.
func TestRoleHooked(t *testing.T) {
	for role := range Role(len(roles)) {
		if hooked, want := role.WhyUnhooked() == "", role.LeadsOut() || role == RolePod || role == RoleIFB; hooked != want {
			t.Errorf("%s has hooks: %v", role, hooked)
		}
		if role.LeadsOut() && !role.Watched() {
			t.Errorf("%s leads out and its changes are not kept", role)
		}
	}
}

func TestRoleLabel(t *testing.T) {
	for name, want := range map[string]string{"ifb0": "ifb0", "bwp2e6f9a0b1c": "ifb"} {
		if got := RoleIFB.Label(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for role, want := range map[Role]string{RolePod: PodLabel, RoleOverlay: "tunl0", RoleOther: "tunl0"} {
		if got := role.Label("tunl0"); got != want {
			t.Errorf("%s: %s", role, got)
		}
	}
}
