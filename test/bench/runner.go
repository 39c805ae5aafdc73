package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

// ringRecords is what fits into the ring: 2 MiB, less a byte, of records of 248 bytes with a header of 8.
const ringRecords = 2<<20/256 - 1

// skBuff is the kernel's struct __sk_buff, of which a run may be given some fields.
type skBuff struct {
	_              [36]byte
	IngressIfindex uint32
	_              [152]byte
}

// loopback is the device of packets that are run without one, in every network namespace.
const loopback = 1

// runner repeats programs in the kernel, which are attached nowhere.
type runner struct {
	objects hooksObjects
	reader  *ringbuf.Reader
	config  hooksConfig
	known   hooksConnectionScene // of the packets' connection; see watched
}

func newRunner() (*runner, error) {
	// Before 5.11 maps count as locked memory.
	if err := rlimit.RemoveMemlock(); err != nil {
		return nil, fmt.Errorf("raise the limit of locked memory: %w", err)
	}
	r := &runner{}
	if err := loadHooksObjects(&r.objects, nil); err != nil {
		return nil, fmt.Errorf("load the programs (they need Linux 6.2 or newer): %w", err)
	}
	var st unix.Stat_t
	err := unix.Stat("/proc/thread-self/ns/net", &st)
	if err == nil {
		r.reader, err = ringbuf.NewReader(r.objects.TracerRecords)
	}
	if err == nil {
		err = r.place(&scenario{})
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the programs: %w", err), r.objects.Close())
	}
	// As in the agent, except that nobody is woken: one record in 4,096 does that there.
	r.config = hooksConfig{Netns: uint32(st.Ino), WakeupBytes: 1 << 30, VxlanPort: [8]uint16{hostOrder(vxlanPort)}}
	if r.known, err = r.watched(); err != nil {
		return nil, errors.Join(fmt.Errorf("prepare the programs: %w", err), r.objects.Close())
	}
	return r, nil
}

// place has a scenario's packets leave the namespace behind their second hook.
func (r *runner) place(s *scenario) error {
	var devices [hooksTableDEVICE_BUCKETS]hooksDeviceBucket
	at := &devices[loopback].Device[0]
	*at = hooksDevice{Ifindex: loopback, Ethernet: 1, Flags: uint8(hooksFlagFLAG_LEAVES),
		Class: uint8(hooksTableCLASS_PORT)} // loopback has not the packets' MAC
	if s.pod {
		at.Flags |= uint8(hooksFlagFLAG_POD)
	}
	if err := r.objects.Devices.Set(&devices); err != nil {
		return fmt.Errorf("tell the programs of the device: %w", err)
	}
	return nil
}

func (r *runner) Close() error { return errors.Join(r.reader.Close(), r.objects.Close()) }

// hostOrder turns a port as the packet has it into the number that the programs compare, on little-endian machines.
func hostOrder(port uint16) uint16 { return port<<8 | port>>8 }

// scene is the slot that a scenario's programs find: as the packet's first hook leaves it, with the flags wanted.
func (r *runner) scene(s *scenario) (hooksScene, error) {
	first := *s
	first.program, first.sampleN, first.watch, first.look = r.objects.First, 0, 0, 1
	first.connection = nil
	if err := r.place(s); err != nil {
		return hooksScene{}, err
	}
	if err := r.run(&first, hooksScene{}, 1); err != nil {
		return hooksScene{}, err
	}
	b, journeys, err := r.bucket()
	if err != nil {
		return hooksScene{}, err
	}
	for slot, tag := range b.Tag {
		if tag != 0 {
			scene := hooksScene{State: b.State[slot], Journey: journeys.Journey[slot]}
			scene.State.Flags = uint8(s.flags)
			return scene, nil
		}
	}
	return hooksScene{}, fmt.Errorf("%s: the packet began no journey", s.name)
}

// bucket is that of the packet of the last run.
func (r *runner) bucket() (b hooksBucketSlots, journeys hooksBucketJourneys, err error) {
	var planted hooksScene
	if err := r.objects.Planted.Get(&planted); err != nil {
		return b, journeys, fmt.Errorf("read the scene: %w", err)
	}
	var buckets [hooksTableBUCKETS]hooksBucketSlots
	err = errors.Join(r.objects.Inflight.Get(&buckets), r.objects.TracerJourneys.Lookup(planted.Bucket, &journeys))
	if err != nil {
		err = fmt.Errorf("read the in-flight table: %w", err)
	}
	return buckets[planted.Bucket], journeys, err
}

// run repeats a scenario on the slot of scene.
func (r *runner) run(s *scenario, scene hooksScene, repeat int) error {
	r.config.SampleN, r.config.WatchBelow, r.config.LookBelow = s.sampleN, s.watch, s.look
	r.config.WatchWeight = 1
	if err := r.objects.PlantedConnection.Set(r.connection(s.connection)); err != nil {
		return fmt.Errorf("set the connection: %w", err)
	}
	if err := r.objects.Settings.Set(r.config); err != nil {
		return fmt.Errorf("configure the programs: %w", err)
	}
	if err := r.objects.Planted.Set(scene); err != nil {
		return fmt.Errorf("set the scene: %w", err)
	}
	// The packet has come in by the device at whose hooks it is, as a packet that is forwarded has by another.
	context := skBuff{IngressIfindex: loopback}
	if _, err := s.program.Run(&ebpf.RunOptions{Data: s.packet, Context: context, Repeat: uint32(repeat)}); err != nil {
		return fmt.Errorf("run %s: %w", s.name, err)
	}
	return nil
}

// watched finds the connection that the packets are of in the table, as its first packet leaves it.
func (r *runner) watched() (hooksConnectionScene, error) {
	question := scenario{name: "the connection", program: r.objects.First, packet: newPackets().tcp4, pod: true, watch: 1 << 32, look: 1 << 32}
	if err := r.place(&question); err != nil {
		return hooksConnectionScene{}, err
	}
	if err := r.run(&question, hooksScene{}, 1); err != nil {
		return hooksConnectionScene{}, err
	}
	var table [hooksTableWATCHED_BUCKETS]hooksWatchedBucket
	if err := r.objects.WatchedTable.Get(&table); err != nil {
		return hooksConnectionScene{}, fmt.Errorf("read the table of connections: %w", err)
	}
	for i := range table {
		for slot, tag := range table[i].Tag {
			if tag != 0 {
				return hooksConnectionScene{Place: uint32(i*len(table[i].Tag) + slot), Restored: 1, Tag: tag, Watched: table[i].Slot[slot]}, nil
			}
		}
	}
	return hooksConnectionScene{}, errors.New("the packet's connection is not watched")
}

// connection is what each repeat of a scenario finds of its packet's.
func (r *runner) connection(c *connection) hooksConnectionScene {
	if c == nil {
		return hooksConnectionScene{}
	}
	scene := r.known
	scene.Watched.State, scene.Watched.Next, scene.Watched.Flags = uint8(c.state), c.next, 0
	if c.unwatched {
		scene.Tag = 0
	}
	return scene
}

// drain empties the ring, and returns how many records were in it.
func (r *runner) drain() (records int, err error) {
	var raw ringbuf.Record
	for r.reader.SetDeadline(time.Now()); ; records++ {
		if err := r.reader.ReadInto(&raw); errors.Is(err, os.ErrDeadlineExceeded) {
			return records, nil
		} else if err != nil {
			return records, fmt.Errorf("read the ring buffer: %w", err)
		}
	}
}

// counters are the sums of all CPUs.
func (r *runner) counters() (sum [hooksCounterCOUNT_MAX]uint64, err error) {
	var cpus []hooksCounters
	if err := r.objects.TracerCounters.Lookup(uint32(0), &cpus); err != nil {
		return sum, fmt.Errorf("read the programs' counters: %w", err)
	}
	for _, c := range cpus {
		for i, n := range c.Count {
			sum[i] += n
		}
	}
	return sum, nil
}

// verify checks that a scenario goes the way it is named after: that its repeats count what they should and no more,
// and leave the slot as they should.
func (r *runner) verify(s *scenario, scene hooksScene) error {
	const repeat = 100
	if _, err := r.drain(); err != nil {
		return err
	}
	before, err := r.counters()
	if err != nil {
		return err
	}
	if err := r.run(s, scene, repeat); err != nil {
		return err
	}
	after, err := r.counters()
	if err != nil {
		return err
	}
	var want [hooksCounterCOUNT_MAX]uint64
	for _, c := range s.counts {
		want[c] = repeat
	}
	for c := range after {
		if got := after[c] - before[c]; got != want[c] {
			return fmt.Errorf("%s: counter %d grew by %d in %d runs, want %d", s.name, c, got, repeat, want[c])
		}
	}
	if err := r.verifyConnection(s, repeat); err != nil {
		return err
	}
	if s.leaves == hooksHookHOOK_NONE {
		return nil
	}
	b, _, err := r.bucket()
	if err != nil {
		return err
	}
	if b.Tag[0] == 0 || hooksHook(b.State[0].Hook) != s.leaves {
		return fmt.Errorf("%s: it leaves tag %#x and hook %d, want hook %d", s.name, b.Tag[0], b.State[0].Hook, s.leaves)
	}
	return nil
}

// verifyConnection checks that the repeats leave the packet's connection as they should, and sent what is to be said of it.
func (r *runner) verifyConnection(s *scenario, repeat int) error {
	if s.connection == nil || s.name == connectionName {
		return nil
	}
	records, err := r.drain()
	if err != nil {
		return err
	}
	if records != s.connection.records*repeat {
		return fmt.Errorf("%s: %d records in %d runs, want %d in each", s.name, records, repeat, s.connection.records)
	}
	var table [hooksTableWATCHED_BUCKETS]hooksWatchedBucket
	if err := r.objects.WatchedTable.Get(&table); err != nil {
		return fmt.Errorf("read the table of connections: %w", err)
	}
	b := &table[r.known.Place/uint32(len(table[0].Tag))]
	for slot, tag := range b.Tag {
		if tag == r.known.Tag && hooksWatchedState(b.Slot[slot].State) == s.connection.leaves {
			return nil
		}
	}
	return fmt.Errorf("%s: it leaves %+v, want state %d", s.name, b, s.connection.leaves)
}

// measure times all scenarios, one after another in each round, so that whatever slows the machine for a while slows
// all of them. It returns nanoseconds for each scenario and round.
func (r *runner) measure(list []scenario, rounds, repeat int) ([][]float64, error) {
	if repeat > ringRecords {
		return nil, fmt.Errorf("%d repeats: at most %d, or the ring would be full", repeat, ringRecords)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	release, err := stayOnOneCPU()
	if err != nil {
		return nil, err
	}
	defer release()

	scenes := make([]hooksScene, len(list))
	for i := range list {
		if scenes[i], err = r.scene(&list[i]); err != nil {
			return nil, err
		}
		if err := r.verify(&list[i], scenes[i]); err != nil {
			return nil, err
		}
	}
	times := make([][]float64, len(list))
	for round := range rounds + 1 {
		for i := range list {
			if _, err := r.drain(); err != nil {
				return nil, err
			}
			if err := r.place(&list[i]); err != nil {
				return nil, err
			}
			before := threadTime()
			if err := r.run(&list[i], scenes[i], repeat); err != nil {
				return nil, err
			}
			// The first round warms up.
			if round > 0 {
				times[i] = append(times[i], float64(threadTime()-before)/float64(repeat))
			}
		}
	}
	return times, r.missedNothing()
}

// missedNothing checks that no record met a full ring, which costs less than one that finds room.
func (r *runner) missedNothing() error {
	sum, err := r.counters()
	if err != nil {
		return err
	}
	for c := hooksCounterCOUNT_MISSED_JOURNEY; c < hooksCounterCOUNT_MAX; c++ {
		if sum[c] != 0 {
			return fmt.Errorf("%d records found no room while their cost was measured", sum[c])
		}
	}
	return nil
}
