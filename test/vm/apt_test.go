package main

import "testing"

func TestSourcesList(t *testing.T) {
	t.Parallel()
	const mirrors = `bookworm http://mirror.example/debian/
bookworm-updates http://other.example/debian/
bookworm-security http://mirror.example/debian-security/
nodistro https://packages.example/node/
`
	for name, test := range map[string]struct {
		targets string
		suites  []string
		want    string
	}{
		"by kind of suite": {mirrors, []string{"sid", "bullseye-security"},
			"deb [arch=amd64 target=Packages signed-by=" + keyring + "] http://mirror.example/debian/ sid main\n" +
				"deb [arch=amd64 target=Packages signed-by=" + keyring + "] http://mirror.example/debian-security/ bullseye-security main\n"},
		"without a mirror of security": {"stable http://mirror.example/debian/\n", []string{"bullseye", "bullseye-security"},
			"deb [arch=amd64 target=Packages signed-by=" + keyring + "] http://mirror.example/debian/ bullseye main\n"},
		"another distribution": {"noble http://mirror.example/ubuntu/\n", []string{"sid"}, ""},
		"nothing":              {"", []string{"sid"}, ""},
	} {
		if got, err := sourcesList(test.targets, "amd64", test.suites); got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%s:\n got %q, %v\nwant %q", name, got, err, test.want)
		}
	}
}
