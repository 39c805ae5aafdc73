package main

import (
	"reflect"
	"testing"
)

func TestCount(t *testing.T) {
	t.Parallel()
	const events = `{"Action":"start","Package":"p"}
{"Action":"run","Package":"p","Test":"A"}
{"Action":"fail","Package":"p","Test":"A"}
{"Action":"pass","Package":"p","Test":"A"}
{"Action":"skip","Package":"p","Test":"B"}
{"Action":"output","Package":"q","Test":"A","Output":"    a_test.go:7: steady: asked again: late\\n"}
{"Action":"pass","Package":"q","Test":"A"}
{"Action":"fail","Package":"p","Test":"C/d"}
{"Action":"pass","Package":"p","Test":"C/d"}
{"Action":"pass","Package":"q"}
{"Act`
	if got, want := count([]byte(events), nil), (counts{tests: 4, skipped: 1, reruns: 3, ranAgain: []string{"A", "C/d"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("of events %+v, want %+v", got, want)
	}
	const said = "vm: kernel 6.1, 6.1.0-56-cloud-amd64: 33 tests passed, 1 failed, 2 skipped, in 2m16s (1m22s of CPU)\n" +
		"vm: kernel 6.12: started again: a debug exception\nvm: kernel 6.12: runs again: TestA, TestB\n2 runs were played again\nscoreboard: 14/14 faults named, 0/15 false alarms\n"
	if got, want := count(nil, []byte(said)), (counts{tests: 65, skipped: 2, reruns: 5, ranAgain: []string{"TestA on 6.12", "TestB on 6.12"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("of closing lines %+v, want %+v", got, want)
	}
}
