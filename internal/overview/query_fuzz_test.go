package overview

import (
	"net/url"
	"reflect"
	"testing"
)

// FuzzQuery reads queries of overviews: what is taken means the same when it is written and read again.
func FuzzQuery(f *testing.F) {
	f.Add("by=flow&interval=1s&filter=web+p99%3E10ms+drops%3E0&sort=-p99&limit=3&pair=a|b|c|d|out")
	f.Add("filter=src%3Ddefault%2Fweb+worst%3Dqueue+pps%3C1k+held%3E%3D2")
	f.Add("filter=%3E&sort=-&interval=1m")
	f.Add("filter=src%3D%09")
	f.Add("filter=src%3Da%09p99%3E1ms%C2%A0web")
	row := Row{}
	f.Fuzz(func(t *testing.T, text string) {
		values, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		q, err := ParseQuery(values)
		if err != nil {
			return
		}
		again, err := ParseQuery(q.Values())
		if err != nil || !reflect.DeepEqual(again.Values(), q.Values()) {
			t.Errorf("%q: %v became %v, %v", text, q.Values(), again.Values(), err)
		}
		for _, match := range q.Filter.terms {
			match(&row)
		}
	})
}
