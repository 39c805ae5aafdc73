package loader

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
	"tracer/test/steady"
)

// skb is the context that BPF_PROG_TEST_RUN takes: struct __sk_buff of linux/bpf.h.
type skb struct {
	Len, PktType, Mark, QueueMapping, Protocol, VlanPresent, VlanTCI, VlanProto, Priority uint32
	IngressIfindex, Ifindex, TCIndex                                                      uint32
	CB                                                                                    [5]uint32
	Hash, TCClassid, Data, DataEnd, NapiID, Family, RemoteIP4, LocalIP4                   uint32
	RemoteIP6, LocalIP6                                                                   [4]uint32
	RemotePort, LocalPort, DataMeta                                                       uint32
	FlowKeys, Tstamp                                                                      uint64
	WireLen, GSOSegs                                                                      uint32
	SK                                                                                    uint64
	GSOSize                                                                               uint32
	_                                                                                     uint32
	Hwtstamp                                                                              uint64
}

// kernel is a loaded set of programs that are attached nowhere.
type kernel struct {
	*testing.T
	*loaded
}

type loaded struct {
	objects struct {
		Counters  *ebpf.Map      `ebpf:"tracer_counters"`
		Records   *ebpf.Map      `ebpf:"tracer_records"`
		Journeys  *ebpf.Map      `ebpf:"tracer_journeys"`
		Variables *ebpf.Map      `ebpf:".bss"`
		Settings  *ebpf.Variable `ebpf:"settings"`
		Devices   *ebpf.Variable `ebpf:"devices"`
		Own       *ebpf.Variable `ebpf:"own_addresses"`
		Quotas    *ebpf.Variable `ebpf:"quotas"`
		Ingress   *ebpf.Program  `ebpf:"tracer_ingress"`
		Egress    *ebpf.Program  `ebpf:"tracer_egress"`
	}
	table     table
	buckets   []bpfobj.TracerBucketSlots // the in-flight table itself
	journeys  []bpfobj.TracerBucketJourneys
	watched   []bpfobj.TracerWatchedBucket
	watchedAt uint32 // where it begins among the variables
	epoch     uint32 // of sampling, the test's last one

	inL2, inL3, finalL2, finalL3, podL2, fromPodL2 *place
}

// place is a program at a device of some kind.
type place struct {
	program *ebpf.Program
	devices *ebpf.Variable
	device  bpfobj.TracerDevice
}

// Run tells the programs of the device, which in a test run is the first, and has the program run.
func (p *place) Run(options *ebpf.RunOptions) (uint32, error) {
	const first = 1
	p.device.Ifindex = first
	var all [deviceBuckets]bpfobj.TracerDeviceBucket
	all[first].Device[0] = p.device
	if err := p.devices.Set(&all); err != nil {
		return 0, err
	}
	return p.program.Run(options)
}

// Tests share the programs, one test at a time: to verify them takes an emulated machine seconds.
var (
	oneKernel  sync.Mutex
	loadKernel = sync.OnceValues(load)
)

func load() (*loaded, error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, err
	}
	var o loaded
	spec, err := bpfobj.LoadTracer()
	if err != nil {
		return nil, err
	}
	if err := spec.LoadAndAssign(&o.objects, nil); err != nil {
		return nil, err
	}
	at := func(program *ebpf.Program, ethernet, flags uint8) *place {
		return &place{program, o.objects.Devices, bpfobj.TracerDevice{Ethernet: ethernet, Flags: flags}}
	}
	o.inL2, o.inL3 = at(o.objects.Ingress, 1, 0), at(o.objects.Ingress, 0, 0)
	o.finalL2, o.finalL3 = at(o.objects.Egress, 1, leaves), at(o.objects.Egress, 0, leaves)
	o.podL2, o.fromPodL2 = at(o.objects.Egress, 1, leaves|pod), at(o.objects.Ingress, 1, leaves|pod)
	o.table = table{o.objects.Variables, spec.Variables[bpfobj.TracerVarInflight].Offset, o.objects.Journeys}
	o.watchedAt = spec.Variables[bpfobj.TracerVarWatchedTable].Offset
	var bucketsErr, journeysErr, watchedErr error
	o.buckets, bucketsErr = mapBuckets[bpfobj.TracerBucketSlots](o.table.variables, o.table.slotsAt, uint32(bpfobj.TracerTableBUCKETS))
	o.journeys, journeysErr = mapBuckets[bpfobj.TracerBucketJourneys](o.table.journeys, 0, uint32(bpfobj.TracerTableBUCKETS))
	o.watched, watchedErr = mapBuckets[bpfobj.TracerWatchedBucket](o.table.variables, o.watchedAt, watchedBuckets)
	return &o, errors.Join(bucketsErr, journeysErr, watchedErr)
}

// mapBuckets maps what all buckets have for as long as the process lives.
func mapBuckets[T any](m *ebpf.Map, at, n uint32) ([]T, error) {
	_, values, err := mapMemory(m, at, n*uint32(unsafe.Sizeof(*new(T))), unix.PROT_READ|unix.PROT_WRITE)
	if err != nil {
		return nil, err
	}
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(values))), n), nil
}

// newKernel gives the test the programs, with empty tables, until it ends. What is sampled does not depend on which tests went before.
func newKernel(t *testing.T, config bpfobj.TracerConfig) *kernel {
	t.Helper()
	oneKernel.Lock()
	t.Cleanup(oneKernel.Unlock)
	steady.Watch(t)
	l, err := loadKernel()
	if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		t.Fatalf("%+v", v)
	} else if err != nil {
		t.Fatal(err)
	}
	k := &kernel{T: t, loaded: l}
	k.reset()
	k.epoch = 0
	if err := k.objects.Quotas.Set(make([]byte, k.objects.Quotas.Size())); err != nil {
		t.Fatal(err)
	}
	config.WakeupBytes = 1 << 20
	if err := k.objects.Settings.Set(config); err != nil {
		t.Fatal(err)
	}
	return k
}

// sample begins an epoch of sampling, in which no flow has started a journey yet.
func (k *kernel) sample(n, quota uint32, salt uint64) {
	k.Helper()
	k.epoch++
	var config bpfobj.TracerConfig
	if err := k.objects.Settings.Get(&config); err != nil {
		k.Fatal(err)
	}
	config.SampleN, config.FlowQuota, config.Epoch, config.Salt = n, quota, k.epoch, salt
	if err := k.objects.Settings.Set(config); err != nil {
		k.Fatal(err)
	}
}

// each runs f for a case, on an empty table.
func (k *kernel) each(name string, f func(k *kernel)) {
	k.Run(name, func(t *testing.T) {
		sub := *k
		sub.T = t
		f(&sub)
		sub.reset()
	})
}

// reset empties table and counters.
func (k *kernel) reset() {
	k.Helper()
	for i := range k.buckets {
		if b := &k.buckets[i]; b.Tag != [len(b.Tag)]uint64{} {
			*b, k.journeys[i] = bpfobj.TracerBucketSlots{}, bpfobj.TracerBucketJourneys{}
		}
	}
	for i := range k.watched {
		if b := &k.watched[i]; b.Tag != [len(b.Tag)]uint64{} {
			*b = bpfobj.TracerWatchedBucket{}
		}
	}
	var cpus []bpfobj.TracerCounters
	if err := k.objects.Counters.Lookup(uint32(0), &cpus); err != nil {
		k.Fatal(err)
	}
	clear(cpus)
	if err := k.objects.Counters.Put(uint32(0), cpus); err != nil {
		k.Fatal(err)
	}
}

// pass runs a tc program over a packet and checks that it lets the packet go on as it is.
func (k *kernel) pass(p *place, packet []byte, ingressIfindex uint32) {
	k.Helper()
	k.passAs(p, packet, skb{IngressIfindex: ingressIfindex})
}

// passAs does it with a context that is given but for the packet's length.
func (k *kernel) passAs(p *place, packet []byte, context skb) {
	k.Helper()
	context.WireLen = uint32(len(packet))
	opts := ebpf.RunOptions{Data: packet, DataOut: make([]byte, len(packet)+64), Context: context}
	verdict, err := p.Run(&opts)
	if err != nil {
		k.Fatal(err)
	}
	if int32(verdict) != -1 {
		k.Fatalf("verdict %d, want -1 (next program)", int32(verdict))
	}
	if string(opts.DataOut) != string(packet) {
		k.Fatal("the packet was changed")
	}
}

// takesIngress tells whether a test run can say where a packet came in (5.11).
func (k *kernel) takesIngress() bool {
	_, err := k.finalL2.Run(&ebpf.RunOptions{Data: make([]byte, 60), Context: skb{IngressIfindex: 1}})
	return !errors.Is(err, unix.EINVAL)
}

// open are the journeys in the table.
func (k *kernel) open() []record.Record {
	k.Helper()
	open, torn, err := k.table.scan(noneHeld)
	if err != nil || torn != 0 {
		k.Fatalf("scan: %d torn, %v", torn, err)
	}
	return open
}

func (k *kernel) counters() Counters {
	k.Helper()
	c, err := (&Loader{objects: objects{named: named{Counters: k.objects.Counters}}}).Counters()
	if err != nil {
		k.Fatal(err)
	}
	return c
}

// Headers of crafted packets.

func ethernet(ethertype uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, ethertype)
}

func vlan(tci, ethertype uint16) []byte {
	return binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, tci), ethertype)
}

type ipv4 struct {
	src, dst string
	protocol uint8
	id       uint16
	fragment uint16 // flags and offset
	options  []byte
	total    uint16 // 0: what is right
}

func (h ipv4) over(payload []byte) []byte {
	length := 20 + len(h.options)
	b := make([]byte, length, length+len(payload))
	b[0] = 0x40 | byte(length/4)
	total := uint16(length + len(payload))
	if h.total != 0 {
		total = h.total
	}
	binary.BigEndian.PutUint16(b[2:], total)
	binary.BigEndian.PutUint16(b[4:], h.id)
	binary.BigEndian.PutUint16(b[6:], h.fragment)
	b[8], b[9] = 64, h.protocol
	copy(b[12:], netip.MustParseAddr(h.src).AsSlice())
	copy(b[16:], netip.MustParseAddr(h.dst).AsSlice())
	copy(b[20:], h.options)
	return append(b, payload...)
}

func ipv6(src, dst string, next uint8, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], netip.MustParseAddr(src).AsSlice())
	copy(b[24:], netip.MustParseAddr(dst).AsSlice())
	return append(b, payload...)
}

func tcp(src, dst uint16, seq uint32, payload string) []byte {
	b := make([]byte, 20, 20+len(payload))
	binary.BigEndian.PutUint16(b[0:], src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint32(b[4:], seq)
	b[12] = 5 << 4
	return append(b, payload...)
}

func udp(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b[0:], src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

func vxlan(inner []byte) []byte { return append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, inner...) }

func geneve(options, inner []byte) []byte {
	return join([]byte{byte(len(options) / 4), 0, 0x65, 0x58, 0, 0, 1, 0}, options, inner)
}

func join(parts ...[]byte) (b []byte) {
	for _, p := range parts {
		b = append(b, p...)
	}
	return b
}
