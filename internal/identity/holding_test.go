package identity

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/aggregate"
)

var anAddress = netip.MustParseAddr("10.0.0.1")

// named is a holder of that name, which is its identifier too.
func named(name string, r rank, from, sure time.Duration) holder {
	return holder{uid: name, rank: r, local: r == pod, id: &aggregate.Identity{Workload: name}, from: from, sure: sure}
}

func TestHoldings(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, test := range []struct {
		name string
		do   func(*holdings)
		want map[time.Duration]string // by time; "" is nobody
	}{
		{"one", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 2*s, 3*s), true, 3*s)
		}, map[time.Duration]string{1 * s: "", 2 * s: "a", 3 * s: "a", 900 * s: "a"}},
		{"one after the other", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.release(anAddress, "a", pod, 5*s)
			h.claim(anAddress, named("b", pod, 7*s, 8*s), true, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "", 7 * s: "b", 8 * s: "b"}},
		{"without proof it begins where the other ended", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.release(anAddress, "a", pod, 5*s)
			h.claim(anAddress, named("b", pod, 2*s, 9*s), false, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "b", 9 * s: "b"}},
		{"the end is told late", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.claim(anAddress, named("b", pod, 5*s, 6*s), true, 8*s)
			h.release(anAddress, "a", pod, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "b", 8 * s: "b", 9 * s: "b"}},
		{"two at once", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.claim(anAddress, named("b", pod, 5*s, 6*s), true, 8*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "", 9 * s: ""}},
		{"two at once, told in the other order", func(h *holdings) {
			h.claim(anAddress, named("b", pod, 5*s, 6*s), true, 8*s)
			h.claim(anAddress, named("a", pod, 0, 0), true, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 9 * s: ""}},
		{"three", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.release(anAddress, "a", pod, 2*s)
			h.claim(anAddress, named("b", pod, 2*s, 2*s), true, 2*s)
			h.release(anAddress, "b", pod, 4*s)
			h.claim(anAddress, named("c", pod, 4*s, 4*s), true, 4*s)
		}, map[time.Duration]string{1 * s: "a", 3 * s: "b", 5 * s: "c"}},
		{"the higher rank counts", func(h *holdings) {
			h.claim(anAddress, named("service", service, 0, 0), true, 0)
			h.claim(anAddress, named("endpoint", endpoint, 0, 0), true, 0)
			h.claim(anAddress, named("pod", pod, 5*s, 5*s), true, 0)
		}, map[time.Duration]string{4 * s: "endpoint", 5 * s: "pod"}},
		{"forgotten as if it had not been", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.release(anAddress, "a", pod, forever)
		}, map[time.Duration]string{1 * s: ""}},
		{"the device is gone before anybody says so", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.changed(anAddress, 3*s)
			h.claim(anAddress, named("a", pod, 0, 0), false, 4*s) // an event that was under way
		}, map[time.Duration]string{2 * s: "a", 3 * s: "", 9 * s: ""}},
		{"another device, and both events late", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.changed(anAddress, 3*s)
			h.claim(anAddress, named("b", pod, 2*s, 3*s), true, 6*s)
			h.release(anAddress, "a", pod, 5*s)
		}, map[time.Duration]string{2 * s: "a", 2500 * time.Millisecond: "a", 3 * s: "b", 9 * s: "b"}},
		{"the same pod behind another device", func(h *holdings) {
			h.claim(anAddress, named("a", pod, 0, 0), true, 0)
			h.changed(anAddress, 3*s)
			h.claim(anAddress, named("a", pod, 3*s, 4*s), true, 5*s) // its container began again
		}, map[time.Duration]string{4 * s: "a"}},
		{"taken from a Service and given back", func(h *holdings) {
			h.claim(anAddress, named("a", endpoint, 0, 0), false, 0)
			h.release(anAddress, "a", endpoint, 3*s)
			h.claim(anAddress, named("a", endpoint, 2*s, 6*s), false, 6*s)
			h.claim(anAddress, named("a", endpoint, 3*s, 8*s), false, 8*s) // and told once more
		}, map[time.Duration]string{2 * s: "a", 3 * s: "a", 9 * s: "a"}},
		{"given back after another one had it", func(h *holdings) {
			h.claim(anAddress, named("a", endpoint, 0, 0), false, 0)
			h.release(anAddress, "a", endpoint, 3*s)
			h.claim(anAddress, named("b", endpoint, 3*s, 4*s), false, 4*s)
			h.release(anAddress, "b", endpoint, 6*s)
			h.claim(anAddress, named("a", endpoint, 2*s, 8*s), false, 8*s)
		}, map[time.Duration]string{2 * s: "a", 5 * s: "b", 6 * s: "a", 9 * s: "a"}},
		{"two that say the same", func(h *holdings) {
			h.claim(anAddress, named("a", host, 0, 0), true, 0)
			same := named("a", host, 2*s, 3*s)
			same.uid = "another"
			h.claim(anAddress, same, true, 3*s)
			h.release(anAddress, "a", host, 5*s)
		}, map[time.Duration]string{1 * s: "a", 4 * s: "a", 6 * s: "a"}},
		{"what was kept gives way to what is told", func(h *holdings) {
			kept := named("a", pod, 0, 0)
			kept.id.Stale = true
			h.claim(anAddress, kept, true, 0)
			if n := h.claim(anAddress, named("b", pod, 2*s, 2*s), true, 3*s); n != 0 {
				t.Errorf("%d rivals of the only one that is told", n)
			}
		}, map[time.Duration]string{1 * s: "", 2 * s: "b", 9 * s: "b"}},
		{"a device that came before the pod was known", func(h *holdings) {
			h.changed(anAddress, 3*s)
			h.claim(anAddress, named("a", pod, 1*s, 2*s), true, 5*s)
		}, map[time.Duration]string{2 * s: "", 3 * s: "a"}},
	} {
		var h holdings
		test.do(&h)
		for at, want := range test.want {
			got := ""
			if id, _ := h.at(anAddress, at); id != nil {
				got = id.Workload
			}
			if got != want {
				t.Errorf("%s: at %v it is %q's, want %q", test.name, at, got, want)
			}
		}
	}
}

func TestHoldingsAreBounded(t *testing.T) {
	t.Parallel()
	var h holdings
	for i := range 100 {
		at := time.Duration(i) * time.Second
		name := string(rune('A' + i))
		h.claim(anAddress, named(name, pod, at, at), true, at)
		h.release(anAddress, name, pod, at+time.Second)
	}
	if n := len(h.addresses[anAddress].holders); n > maxHolders {
		t.Errorf("%d holders", n)
	}
	if id, _ := h.at(anAddress, 99*time.Second); id == nil || id.Workload != string(rune('A'+99)) {
		t.Errorf("the last is %+v", id)
	}
	h.forget(100*time.Second + remembered + time.Nanosecond)
	if len(h.addresses) != 0 {
		t.Errorf("%d addresses are kept", len(h.addresses))
	}
	if _, claimed := h.at(anAddress, 0); claimed {
		t.Error("a forgotten address is somebody's")
	}
}

// TestNobodysAddresses: what a pod sends from is noted as long as there is room, and changes no answer.
func TestNobodysAddresses(t *testing.T) {
	t.Parallel()
	var h holdings
	h.claim(anAddress, named("a", pod, 0, 0), true, 0)
	version := h.version.Load()
	spoofed := netip.MustParseAddr("198.18.0.0")
	for range 2 * maxNobodys {
		spoofed = spoofed.Next()
		h.changed(spoofed, 3*time.Second)
		if id, claimed := h.at(spoofed, 4*time.Second); id != nil || claimed {
			t.Fatalf("%v is %+v's, claimed %v", spoofed, id, claimed)
		}
	}
	if n := len(h.addresses); n != 1+maxNobodys || h.nobodys != maxNobodys {
		t.Errorf("%d addresses are kept, of them %d nobody's", n, h.nobodys)
	}
	if h.version.Load() != version {
		t.Error("the version went on, and nobody else is named")
	}
	h.changed(anAddress, 5*time.Second)
	if id, claimed := h.at(anAddress, 5*time.Second); id != nil || !claimed {
		t.Errorf("with no room for others the address is %+v's after its device went, claimed %v", id, claimed)
	}
	h.release(anAddress, "a", pod, forever)
	if n := len(h.addresses); n != maxNobodys || h.nobodys != maxNobodys {
		t.Errorf("%d addresses are kept, of them %d nobody's, after the only holder went", n, h.nobodys)
	}
	h.claim(netip.MustParseAddr("198.18.0.1"), named("b", pod, 0, 0), true, 0)
	if h.nobodys != maxNobodys-1 {
		t.Errorf("%d addresses are nobody's after one was claimed", h.nobodys)
	}
	h.release(netip.MustParseAddr("198.18.0.1"), "b", pod, 6*time.Second)
	h.forget(6*time.Second + remembered + time.Nanosecond)
	if len(h.addresses) != 0 || h.nobodys != 0 {
		t.Errorf("%d addresses are kept, of them %d nobody's", len(h.addresses), h.nobodys)
	}
}

func TestRivals(t *testing.T) {
	t.Parallel()
	var h holdings
	if n := h.claim(anAddress, named("a", pod, 0, 0), true, 0); n != 0 {
		t.Errorf("%d rivals of the only one", n)
	}
	if n := h.claim(anAddress, named("a", pod, 0, 0), true, 0); n != 0 {
		t.Errorf("%d rivals, itself among them", n)
	}
	if n := h.claim(anAddress, named("x", endpoint, 0, 0), true, 0); n != 0 {
		t.Errorf("%d rivals of another rank", n)
	}
	if n := h.claim(anAddress, named("b", pod, 0, 0), true, 0); n != 1 {
		t.Errorf("%d rivals of the second", n)
	}
}

// TestHoldingsVersion plays random changes, and checks what whoever keeps answers relies on: as long as the version stays,
// an address has the same name at all times from since on.
func TestHoldingsVersion(t *testing.T) {
	t.Parallel()
	const s = time.Second
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c"}
	ranks := []rank{service, endpoint, pod}
	for range 200 {
		h := &holdings{}
		for now := 10 * s; now < 40*s; now += s {
			before := h.version.Load()
			was := h.addresses[anAddress]
			who, of, at := names[r.IntN(len(names))], ranks[r.IntN(len(ranks))], now-time.Duration(r.IntN(5))*s
			switch r.IntN(4) {
			case 0:
				h.claim(anAddress, named(who, of, at-s, at), r.IntN(2) == 0, now)
			case 1:
				h.release(anAddress, who, of, at)
			case 2:
				h.changed(anAddress, at)
			case 3:
				h.forget(now + remembered - 5*s)
			}
			if is := h.addresses[anAddress]; is != was && (is.named() || was.named()) && h.version.Load() == before {
				t.Fatal("who has the address changed, and the version did not")
			}
			since := time.Duration(h.since.Load())
			want, _ := h.at(anAddress, since)
			for at := since; at < now+10*s; at += s / 4 {
				if got, _ := h.at(anAddress, at); got != want {
					t.Fatalf("%v at %v, %v at %v", want, since, got, at)
				}
			}
		}
	}
}
