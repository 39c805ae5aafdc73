package incident

import (
	"fmt"
	"strings"
	"testing"
)

// TestRedacted: nothing that names somebody is left, the same is the same throughout, and figures and words stay.
func TestRedacted(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(6, 6, 4))
	i.Frames[1].Report.Findings[0].Evidence = append(i.Frames[1].Report.Findings[0].Evidence,
		`the rule that drops: ip daddr 10.244.1.2 tcp dport 8080 counter drop comment "deny for customer-x"`,
		"web-1 of worker-a sends to api.shop.svc.cluster.local, not to other-ns/hidden, at 40 packets/s, from 0a:58:0a:f4:01:02",
		"route 10.244.1.0/24 via 172.18.0.3 dev tunl0, 169.254.1.1 dev cali3, fd00:10:244::/64",
	)
	r, err := i.Redacted()
	if err != nil {
		t.Fatal(err)
	}
	text := string(encoded(t, r))
	for _, secret := range []string{
		"worker", "shop", "web-", "cali", "10.244.", "10.96.", "172.18", "fd00", "customer", "hidden", "other-ns", "0a:58", "x2x7k", `"api`, "api.",
	} {
		if at := strings.Index(text, secret); at >= 0 {
			t.Errorf("%q is left: …%s…", secret, text[max(0, at-60):min(len(text), at+60)])
		}
	}
	for _, word := range []string{"tunl0", "netem", "QDISC_DROP", "qdisc-delay", "169.254.1.1", "packets/s", `"queue"`, "TcpRetransSegs", "tcp dport 8080", "/24 via"} {
		if !strings.Contains(text, word) {
			t.Errorf("%q is gone", word)
		}
	}
	back, err := Read(strings.NewReader(text))
	if err != nil || !back.Redact {
		t.Fatal(err)
	}
	f, was := back.Frames[1], i.Frames[1]
	if f.Counts.Pairs[0].DstWorkload != f.Counts.Pairs[1].DstWorkload || f.Counts.Pairs[0].SrcWorkload == f.Counts.Pairs[1].SrcWorkload {
		t.Error("who talks to whom cannot be told any more")
	}
	if f.Counts.Records != was.Counts.Records || f.Counts.Pairs[0].Path.Count() != was.Counts.Pairs[0].Path.Count() || !f.Taken.Equal(was.Taken) {
		t.Error("figures have changed")
	}
	if a, b := f.Slowest[0].First.Source, back.Frames[2].Slowest[1].Last.Source; a != b || !strings.HasPrefix(a, "198.18.") {
		t.Errorf("one address is %s and %s", a, b)
	}
}

// TestComments are left out whatever is quoted in them, and nothing else is.
func TestComments(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		fmt.Sprintf("drop (comment %q), handle 5", `the "secret" of acme\`): `drop (comment "…"), handle 5`,
		`drop comment "deny secret" handle 5`:                               `drop comment "…" handle 5`,
		`drop /* deny *.secret */ handle 5 /* a*b */`:                       `drop "…" handle 5 "…"`,
		`drop /*secret*/ handle 5`:                                          `drop "…" handle 5`,
		`-m comment --comment 'of a secret' -j DROP`:                        `-m comment --comment "…" -j DROP`,
		`--comment 'it'\''s a secret' -j DROP`:                              `--comment "…" -j DROP`,
		`--comment it\ secret -j DROP`:                                      `--comment "…" -j DROP`,
		`--comment secret -j DROP`:                                          `--comment "…" -j DROP`,
		`drop comment "a secret that is cut o`:                              `drop comment "…"`,
		`drop comment "a secret \`:                                          `drop comment "…"`,
		`drop comment 'a secret that`:                                       `drop comment "…"`,
		`drop /* a secret that`:                                             `drop "…"`,
		`no word of any rule, 3 * 4 / 5`:                                    `no word of any rule, 3 * 4 / 5`,
	} {
		p := pseudonyms{}
		if got := p.replace("text", text); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}
