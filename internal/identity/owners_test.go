package identity

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/aggregate"
)

var anAddress = netip.MustParseAddr("10.0.0.1")

// anOwner is an owner with that name, which is its UID too.
func anOwner(name string, r rank, from, certain time.Duration) owner {
	return owner{uid: name, rank: r, local: r == pod, id: &aggregate.Identity{Workload: name}, from: from, certain: certain}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	const s = time.Second
	for _, test := range []struct {
		name string
		do   func(*ownerTable)
		want map[time.Duration]string // by time; "" is nobody
	}{
		{"one", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 2*s, 3*s), true, 3*s)
		}, map[time.Duration]string{1 * s: "", 2 * s: "a", 3 * s: "a", 900 * s: "a"}},
		{"one after the other", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.release(anAddress, "a", pod, 5*s)
			table.acquire(anAddress, anOwner("b", pod, 7*s, 8*s), true, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "", 7 * s: "b", 8 * s: "b"}},
		{"without proof it begins where the other ended", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.release(anAddress, "a", pod, 5*s)
			table.acquire(anAddress, anOwner("b", pod, 2*s, 9*s), false, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "b", 9 * s: "b"}},
		{"the end is reported late", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.acquire(anAddress, anOwner("b", pod, 5*s, 6*s), true, 8*s)
			table.release(anAddress, "a", pod, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "b", 8 * s: "b", 9 * s: "b"}},
		{"two at once", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.acquire(anAddress, anOwner("b", pod, 5*s, 6*s), true, 8*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 6 * s: "", 9 * s: ""}},
		{"two at once, told in the other order", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("b", pod, 5*s, 6*s), true, 8*s)
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 9*s)
		}, map[time.Duration]string{4 * s: "a", 5 * s: "", 9 * s: ""}},
		{"three", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.release(anAddress, "a", pod, 2*s)
			table.acquire(anAddress, anOwner("b", pod, 2*s, 2*s), true, 2*s)
			table.release(anAddress, "b", pod, 4*s)
			table.acquire(anAddress, anOwner("c", pod, 4*s, 4*s), true, 4*s)
		}, map[time.Duration]string{1 * s: "a", 3 * s: "b", 5 * s: "c"}},
		{"the higher rank wins", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("service", service, 0, 0), true, 0)
			table.acquire(anAddress, anOwner("endpoint", endpoint, 0, 0), true, 0)
			table.acquire(anAddress, anOwner("pod", pod, 5*s, 5*s), true, 0)
		}, map[time.Duration]string{4 * s: "endpoint", 5 * s: "pod"}},
		{"removed as if it had not been", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.release(anAddress, "a", pod, forever)
		}, map[time.Duration]string{1 * s: ""}},
		{"the device is gone before anybody says so", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.deviceChanged(anAddress, 3*s)
			table.acquire(anAddress, anOwner("a", pod, 0, 0), false, 4*s) // an event that was under way
		}, map[time.Duration]string{2 * s: "a", 3 * s: "", 9 * s: ""}},
		{"another device, and both events late", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.deviceChanged(anAddress, 3*s)
			table.acquire(anAddress, anOwner("b", pod, 2*s, 3*s), true, 6*s)
			table.release(anAddress, "a", pod, 5*s)
		}, map[time.Duration]string{2 * s: "a", 2500 * time.Millisecond: "a", 3 * s: "b", 9 * s: "b"}},
		{"the same pod behind another device", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
			table.deviceChanged(anAddress, 3*s)
			table.acquire(anAddress, anOwner("a", pod, 3*s, 4*s), true, 5*s) // its container began again
		}, map[time.Duration]string{4 * s: "a"}},
		{"taken from a Service and given back", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", endpoint, 0, 0), false, 0)
			table.release(anAddress, "a", endpoint, 3*s)
			table.acquire(anAddress, anOwner("a", endpoint, 2*s, 6*s), false, 6*s)
			table.acquire(anAddress, anOwner("a", endpoint, 3*s, 8*s), false, 8*s) // and told once more
		}, map[time.Duration]string{2 * s: "a", 3 * s: "a", 9 * s: "a"}},
		{"given back after another one had it", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", endpoint, 0, 0), false, 0)
			table.release(anAddress, "a", endpoint, 3*s)
			table.acquire(anAddress, anOwner("b", endpoint, 3*s, 4*s), false, 4*s)
			table.release(anAddress, "b", endpoint, 6*s)
			table.acquire(anAddress, anOwner("a", endpoint, 2*s, 8*s), false, 8*s)
		}, map[time.Duration]string{2 * s: "a", 5 * s: "b", 6 * s: "a", 9 * s: "a"}},
		{"two that say the same", func(table *ownerTable) {
			table.acquire(anAddress, anOwner("a", host, 0, 0), true, 0)
			same := anOwner("a", host, 2*s, 3*s)
			same.uid = "another"
			table.acquire(anAddress, same, true, 3*s)
			table.release(anAddress, "a", host, 5*s)
		}, map[time.Duration]string{1 * s: "a", 4 * s: "a", 6 * s: "a"}},
		{"what was cached gives way to what is so", func(table *ownerTable) {
			cached := anOwner("a", pod, 0, 0)
			cached.id.Stale = true
			table.acquire(anAddress, cached, true, 0)
			if n := table.acquire(anAddress, anOwner("b", pod, 2*s, 2*s), true, 3*s); n != 0 {
				t.Errorf("%d conflicts of the only one that is reported", n)
			}
		}, map[time.Duration]string{1 * s: "", 2 * s: "b", 9 * s: "b"}},
		{"a device that came before the pod was known", func(table *ownerTable) {
			table.deviceChanged(anAddress, 3*s)
			table.acquire(anAddress, anOwner("a", pod, 1*s, 2*s), true, 5*s)
		}, map[time.Duration]string{2 * s: "", 3 * s: "a"}},
	} {
		var table ownerTable
		test.do(&table)
		for at, want := range test.want {
			got := ""
			if id, named, _ := table.at(anAddress, at); named {
				got = id.Workload
			}
			if got != want {
				t.Errorf("%s: at %v it is %q's, want %q", test.name, at, got, want)
			}
		}
	}
}

func TestOwnersAreBounded(t *testing.T) {
	t.Parallel()
	var table ownerTable
	for i := range 100 {
		at := time.Duration(i) * time.Second
		name := string(rune('A' + i))
		table.acquire(anAddress, anOwner(name, pod, at, at), true, at)
		table.release(anAddress, name, pod, at+time.Second)
	}
	if n := len(table.addresses[anAddress].owners); n > maxOwners {
		t.Errorf("%d owners", n)
	}
	if id, named, _ := table.at(anAddress, 99*time.Second); !named || id.Workload != string(rune('A'+99)) {
		t.Errorf("the last is %+v", id)
	}
	table.expire(100*time.Second + retention + time.Nanosecond)
	if len(table.addresses) != 0 {
		t.Errorf("%d addresses are kept", len(table.addresses))
	}
	if _, _, owned := table.at(anAddress, 0); owned {
		t.Error("an expired address is owned")
	}
}

// TestUnownedAddresses: what a pod sends from is noted as long as there is room, and changes no answer.
func TestUnownedAddresses(t *testing.T) {
	t.Parallel()
	var table ownerTable
	table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0)
	version := table.version.Load()
	spoofed := netip.MustParseAddr("198.18.0.0")
	for range 2 * maxUnowned {
		spoofed = spoofed.Next()
		table.deviceChanged(spoofed, 3*time.Second)
		if id, named, owned := table.at(spoofed, 4*time.Second); named || owned {
			t.Fatalf("%v is %+v's, owned %v", spoofed, id, owned)
		}
	}
	if n := len(table.addresses); n != 1+maxUnowned || table.unowned != maxUnowned {
		t.Errorf("%d addresses are kept, of them %d without an owner", n, table.unowned)
	}
	if table.version.Load() != version {
		t.Error("the version went on, and nobody else is named")
	}
	table.deviceChanged(anAddress, 5*time.Second)
	if id, named, owned := table.at(anAddress, 5*time.Second); named || !owned {
		t.Errorf("with no room for others the address is %+v's after its device went, owned %v", id, owned)
	}
	table.release(anAddress, "a", pod, forever)
	if n := len(table.addresses); n != maxUnowned || table.unowned != maxUnowned {
		t.Errorf("%d addresses are kept, of them %d without an owner, after the only owner went", n, table.unowned)
	}
	table.acquire(netip.MustParseAddr("198.18.0.1"), anOwner("b", pod, 0, 0), true, 0)
	if table.unowned != maxUnowned-1 {
		t.Errorf("%d addresses have no owner after one was owned", table.unowned)
	}
	table.release(netip.MustParseAddr("198.18.0.1"), "b", pod, 6*time.Second)
	table.expire(6*time.Second + retention + time.Nanosecond)
	if len(table.addresses) != 0 || table.unowned != 0 {
		t.Errorf("%d addresses are kept, of them %d without an owner", len(table.addresses), table.unowned)
	}
}

func TestConflicts(t *testing.T) {
	t.Parallel()
	var table ownerTable
	if n := table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0); n != 0 {
		t.Errorf("%d conflicts of the only one", n)
	}
	if n := table.acquire(anAddress, anOwner("a", pod, 0, 0), true, 0); n != 0 {
		t.Errorf("%d conflicts, itself among them", n)
	}
	if n := table.acquire(anAddress, anOwner("x", endpoint, 0, 0), true, 0); n != 0 {
		t.Errorf("%d conflicts of another rank", n)
	}
	if n := table.acquire(anAddress, anOwner("b", pod, 0, 0), true, 0); n != 1 {
		t.Errorf("%d conflicts of the second", n)
	}
}

// TestOwnersVersion plays random changes, and checks what whoever keeps answers relies on: as long as the version stays,
// an address has the same name at all times from since on.
func TestOwnersVersion(t *testing.T) {
	t.Parallel()
	const s = time.Second
	r := rand.New(rand.NewPCG(1, 2))
	names := []string{"a", "b", "c"}
	ranks := []rank{service, endpoint, pod}
	for range 200 {
		table := &ownerTable{}
		for now := 10 * s; now < 40*s; now += s {
			before := table.version.Load()
			was := table.addresses[anAddress]
			who, of, at := names[r.IntN(len(names))], ranks[r.IntN(len(ranks))], now-time.Duration(r.IntN(5))*s
			switch r.IntN(4) {
			case 0:
				table.acquire(anAddress, anOwner(who, of, at-s, at), r.IntN(2) == 0, now)
			case 1:
				table.release(anAddress, who, of, at)
			case 2:
				table.deviceChanged(anAddress, at)
			case 3:
				table.expire(now + retention - 5*s)
			}
			if is := table.addresses[anAddress]; is != was && (is.owned() || was.owned()) && table.version.Load() == before {
				t.Fatal("who has the address changed, and the version did not")
			}
			since := time.Duration(table.since.Load())
			want, _, _ := table.at(anAddress, since)
			for at := since; at < now+10*s; at += s / 4 {
				if got, _, _ := table.at(anAddress, at); got != want {
					t.Fatalf("%v at %v, %v at %v", want, since, got, at)
				}
			}
		}
	}
}

// TestExpireInSteps: who asks while a large table is looked through gets in between two parts of that.
func TestExpireInSteps(t *testing.T) {
	t.Parallel()
	const addresses = 200 * expireAtOnce
	between := 0
	for range 10 { // on a busy machine nobody may have asked meanwhile
		var table ownerTable
		for i := range addresses {
			a := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
			table.acquire(a, anOwner("a", endpoint, 0, 0), true, 0)
			if i%2 == 0 {
				table.release(a, "a", endpoint, time.Second)
			}
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			table.expire(time.Hour)
		}()
		for running := true; running; {
			table.mu.RLock()
			if n := len(table.addresses); n > addresses/2 && n < addresses {
				between++
			}
			table.mu.RUnlock()
			select {
			case <-done:
				running = false
			default:
			}
		}
		if n := len(table.addresses); n != addresses/2 {
			t.Fatalf("%d addresses are left", n)
		}
		if between > 0 {
			return
		}
	}
	t.Error("nobody was let in before all was looked through")
}
