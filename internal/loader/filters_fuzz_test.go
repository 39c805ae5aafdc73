package loader

import (
	"bytes"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// FuzzFilter reads messages of rtnetlink about filters.
func FuzzFilter(f *testing.F) {
	for kind, actions := range actionAttribute {
		message := make([]byte, 20)
		message = append(message, nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)).Serialize()...)
		options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
		action := options.AddRtAttr(actions, nil).AddRtAttr(1, nil)
		action.AddRtAttr(nl.TCA_ACT_KIND, nl.ZeroTerminated("mirred"))
		action.AddRtAttr(nl.TCA_ACT_OPTIONS, nil).AddRtAttr(2, bytes.Repeat([]byte{1, 0, 0, 0}, 7))
		f.Add(append(message, options.Serialize()...))
	}
	f.Fuzz(func(_ *testing.T, message []byte) {
		if filter, err := parseFilter(message); err == nil {
			filter.ours()
			filter.sharesPriority()
			filter.hides()
		}
	})
}

// FuzzFunctions reads tables of the kernel's functions.
func FuzzFunctions(f *testing.F) {
	f.Add([]byte("ffffffff81000000 T _stext\nffffffffc0000000 t in_module\t[module]\n0000000000000000 t hidden\n"), uint64(0xffffffff81000010))
	f.Add([]byte("ffffffff81000000 T \nffffffff81000000 D data\n0000000000000001 t __pfx_x\nfffffffffffffff t short\n"), uint64(1))
	f.Fuzz(func(t *testing.T, text []byte, address uint64) {
		table, err := parseFunctions(bytes.NewReader(text))
		if err != nil {
			return
		}
		if name := table.at(address); !bytes.Contains(text, []byte(name)) {
			t.Errorf("%#x is %q, which the table has not", address, name)
		}
	})
}
