package diagnose

import (
	"bytes"
	"cmp"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/golden"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// scenario is a file of testdata: what a node's window looked like, and what is to be found in it.
type scenario struct {
	Why     string          `json:"why"`
	Devices []netdev.Device `json:"devices"`
	Before  []netdev.Device `json:"before"`
	Pairs   []struct {
		Src, Dst, Service string
		Direction         journey.Direction
		Stages            []struct {
			Stage   journey.Stage
			Device  string
			Packets int
			Delay   float64 `json:"delay_seconds"` // the median; the others lie within 3 %
		}
		Drops []struct {
			Stage                    journey.Stage
			Device, Reason, Location string
			Packets                  uint64
			Noise                    bool
		}
		TCP           *connections
		Requests      *requests
		Segments      float64 // that passed, if more than packets did
		Ends, Dropped *aggregate.Ends
	}
	InFlight []struct {
		Stage     journey.Stage
		Device    string
		Direction journey.Direction
		Packets   int
		Oldest    float64 `json:"oldest_seconds"` // the others are spread evenly down to 0
		Pairs     [][2]string
	} `json:"in_flight"`
	Unanswered      []aggregate.Unanswered
	Records, Missed uint64
	Stats           record.Stats
	StatsBefore     record.Stats `json:"stats_before"`
	Events          []netdev.Event
	ExpectQdisc     map[string]string `json:"expect_qdisc"`
	Services        map[string]record.ServiceEndpoints
	Coverage        []HookCoverage
	Doubt           uint64
	MissingHooks    []MissingHook `json:"missing_hooks"`
	Tunnels         []netdev.Tunnel
	NICs            []netdev.NIC
	NICsBefore      []netdev.NIC `json:"nics_before"`
	Peers           []netdev.Peer
	PeersBefore     []netdev.Peer `json:"peers_before"`
	// What an agent has learnt: of handshakes with nodes, of other round trips to them, and of the requests of each pair, in seconds.
	UsualHandshakes map[string]float64 `json:"usual_handshakes"`
	UsualTrips      map[string]float64 `json:"usual_trips"`
	UsualRequests   float64            `json:"usual_requests"`
	Unused          []string           // devices that have carried nothing; the others are active
	Baseline        []struct {
		aggregate.StageKey
		P50 float64 `json:"p50_seconds"`
	}
	Want struct {
		Verdict  Verdict
		Findings []struct {
			Cause      Cause
			Stage      journey.Stage
			Device     string
			Severity   Severity
			Direction  journey.Direction
			P50        *float64 `json:"p50_seconds"`
			InFlight   *uint64  `json:"in_flight"`
			Packets    *uint64
			Ratio      *float64
			Reason     *string
			Confidence *float64
			Pairs      []string
		}
	}
	Summary string
}

// requests are what a scenario says of a pair's requests.
type requests struct {
	Answered, Unanswered uint64  // at the client's device
	Seconds              float64 // for which each took there; 2 ms unless given
	Server               uint64  // that were answered, at the server's device
	ServerSeconds        float64 `json:"server_seconds"`
	// Of those unanswered, at the client's device, or at the server's if that is here.
	GivenUp uint64 `json:"given_up"`
	Closed  uint64
	Waiting uint64
	Here    bool // the server
}

func (a *requests) counted() *aggregate.Requests {
	if a == nil {
		return nil
	}
	r := &aggregate.Requests{Client: aggregate.RequestSide{Unanswered: a.Unanswered}}
	r.Client.Answered.Observe(cmp.Or(a.Seconds, 0.002), a.Answered)
	r.Server.Answered.Observe(a.ServerSeconds, a.Server)
	r.Client.Timed, r.Server.Timed = a.Answered, a.Server
	side := &r.Client
	if a.Here {
		side = &r.Server
	}
	side.GivenUp, side.Closed, side.Waiting = a.GivenUp, a.Closed, a.Waiting
	side.EndedRecords, side.WaitingRecords = a.GivenUp+a.Closed, a.Waiting
	side.Unanswered = max(side.Unanswered, a.GivenUp+a.Closed+a.Waiting)
	return r
}

// connections are what a scenario says of a pair's, by the names of aggregate.TCP.
type connections struct {
	RTTs        int
	Handshakes  int     // of the round trips
	Node        string  // that they lead to; "" if it is not known
	RTT         float64 `json:"rtt_seconds"`
	Segments    uint64
	Retransmits uint64
	Spurious    uint64
	Delivered   uint64

	SinceRetransmit uint64  `json:"since_retransmit"`
	Quiet           float64 `json:"quiet_seconds"` // since the last retransmission

	Retransmitted           uint64
	Recovered               uint64
	RetransmittedAgain      uint64 `json:"retransmitted_again"`
	RetransmittedAgainBytes uint64 `json:"retransmitted_again_bytes"`
	AckedMeanwhile          uint64 `json:"acked_meanwhile"`
	AckedMeanwhileBytes     uint64 `json:"acked_meanwhile_bytes"`

	SendPending  float64 `json:"send_pending_seconds"`
	WindowClosed float64 `json:"window_closed_seconds"`
	RWNDLimited  float64 `json:"rwnd_limited_seconds"`
	Unread       float64 `json:"unread_seconds"`
	BufferFull   float64 `json:"buffer_full_seconds"`
	Read         float64 `json:"read_seconds"` // that a full buffer takes to be read

	Refused                uint64
	RefusedSeconds         uint64 `json:"refused_seconds"`
	AcceptQueueFullSeconds uint64 `json:"accept_queue_full_seconds"`
	AcceptQueueLength      uint32 `json:"accept_queue_length"`
	AcceptQueueLimit       uint32 `json:"accept_queue_limit"`
	SYNQueueFullSeconds    uint64 `json:"syn_queue_full_seconds"`
	SYNQueueLength         uint32 `json:"syn_queue_length"`
	SYNQueueLimit          uint32 `json:"syn_queue_limit"`
}

func (c *connections) counted() *aggregate.TCP {
	if c == nil {
		return nil
	}
	t := &aggregate.TCP{
		Segments: c.Segments, Retransmits: c.Retransmits, Spurious: c.Spurious, Delivered: c.Delivered, SinceRetransmit: c.SinceRetransmit,
		LastRetransmit: -time.Duration(c.Quiet * float64(time.Second)),
		Retransmitted:  c.Retransmitted, Recovered: c.Recovered, RetransmittedAgain: c.RetransmittedAgain,
		RetransmittedAgainBytes: c.RetransmittedAgainBytes, AckedMeanwhile: c.AckedMeanwhile, AckedMeanwhileBytes: c.AckedMeanwhileBytes,
		SendPending: c.SendPending, WindowClosed: c.WindowClosed, RWNDLimited: c.RWNDLimited, UnreadSeconds: c.Unread, BufferFull: c.BufferFull,
		Refused: c.Refused, RefusedSeconds: c.RefusedSeconds, AcceptQueueFullSeconds: c.AcceptQueueFullSeconds,
		AcceptQueue:         record.AcceptQueue{Length: c.AcceptQueueLength, Limit: c.AcceptQueueLimit, Full: c.AcceptQueueFullSeconds > 0},
		SYNQueueFullSeconds: c.SYNQueueFullSeconds, SYNQueue: record.SYNQueue{Length: c.SYNQueueLength, Limit: c.SYNQueueLimit, Full: c.SYNQueueFullSeconds > 0},
	}
	t.RTT.Observe(c.RTT, uint64(c.RTTs))
	t.HandshakeRTT.Observe(c.RTT, uint64(c.Handshakes))
	if c.Node != "" {
		t.Peers = []aggregate.PeerRTT{{Node: c.Node, RTT: t.RTT.Clone(), HandshakeRTT: t.HandshakeRTT.Clone()}}
	}
	if c.Read > 0 {
		t.Unread.Observe(c.Read, 20)
	}
	return t
}

func load(t *testing.T, path string) *scenario {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var s scenario
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil {
		t.Fatal(err)
	}
	return &s
}

// split reads a pair's end: "namespace/workload" or "_external".
func split(s string) (namespace, workload string) {
	if namespace, workload, ok := strings.Cut(s, "/"); ok {
		return namespace, workload
	}
	return "", s
}

func key(src, dst string, direction journey.Direction) aggregate.PairKey {
	k := aggregate.PairKey{Direction: direction}
	k.SrcNamespace, k.SrcWorkload = split(src)
	k.DstNamespace, k.DstWorkload = split(dst)
	return k
}

// noon is when the scenarios' windows begin.
var noon = time.Date(2026, 3, 4, 14, 2, 30, 0, time.UTC)

// snapshots are the snapshots between which a scenario's window lies. The first has counted nothing.
type snapshots struct{ from, to Snapshot }

func (e *snapshots) diagnose() Report { return Diagnose("node-1", e.from, e.to) }

// snapshots builds what an agent would have seen of the scenario.
func (s *scenario) snapshots() *snapshots {
	window := &aggregate.Snapshot{Window: 15 * time.Second, Unanswered: s.Unanswered, Records: s.Records, MissedRecords: s.Missed}
	stages := map[aggregate.StageKey]*hist.Histogram{}
	for _, p := range s.Pairs {
		pair := aggregate.Pair{PairKey: key(p.Src, p.Dst, p.Direction), Service: p.Service, TCP: p.TCP.counted(), Requests: p.Requests.counted(), Ends: p.Ends, Dropped: p.Dropped}
		total, most := 0.0, 0
		for _, st := range p.Stages {
			k := aggregate.StageKey{Stage: st.Stage, Device: st.Device, Direction: p.Direction}
			var h hist.Histogram
			for i := range st.Packets {
				h.Observe(st.Delay*(0.97+0.06*(float64(i)+0.5)/float64(st.Packets)), 1)
			}
			pair.Stages = append(pair.Stages, aggregate.StageDelay{StageKey: k, Delay: h})
			if stages[k] == nil {
				stages[k] = &hist.Histogram{}
			}
			stages[k].Merge(&h)
			total += st.Delay
			most = max(most, st.Packets)
		}
		pair.Packets = max(float64(most), p.Segments)
		if n := len(p.Stages); n > 0 {
			pair.Path.Observe(total, uint64(p.Stages[n-1].Packets))
		}
		for _, d := range p.Drops {
			count := aggregate.DropCount{Packets: d.Packets, Segments: d.Packets, DropKey: aggregate.DropKey{
				StageKey: aggregate.StageKey{Stage: d.Stage, Device: d.Device, Direction: p.Direction},
				Reason:   d.Reason, Location: d.Location, Loss: !d.Noise,
			}}
			pair.Drops = append(pair.Drops, count)
			window.Drops = append(window.Drops, count)
		}
		window.Pairs = append(window.Pairs, pair)
	}
	for k, h := range stages {
		window.Stages = append(window.Stages, aggregate.StageDelay{StageKey: k, Delay: *h})
	}
	for _, h := range s.InFlight {
		in := aggregate.InFlight{
			StageKey: aggregate.StageKey{Stage: h.Stage, Device: h.Device, Direction: h.Direction},
			Packets:  float64(h.Packets), Oldest: h.Oldest,
		}
		for i := range h.Packets {
			in.Ages.Observe(h.Oldest*float64(i+1)/float64(h.Packets), 1)
		}
		for _, p := range h.Pairs {
			in.Pairs = append(in.Pairs, aggregate.InFlightPair{PairKey: key(p[0], p[1], h.Direction)})
		}
		window.InFlight = append(window.InFlight, in)
	}
	baseline := map[aggregate.StageKey]float64{}
	for _, b := range s.Baseline {
		baseline[b.StageKey] = b.P50
	}
	usual, requests := map[PeerKey]float64{}, map[aggregate.PairKey]float64{}
	for node, seconds := range s.UsualHandshakes {
		usual[PeerKey{node, true}] = seconds
	}
	for node, seconds := range s.UsualTrips {
		usual[PeerKey{node, false}] = seconds
	}
	for i := range window.Pairs {
		if p := &window.Pairs[i]; p.Requests != nil && s.UsualRequests > 0 {
			requests[whoAsks(p.PairKey)] = s.UsualRequests
		}
	}
	active := map[string]bool{}
	for _, d := range slices.Concat(s.Before, s.Devices) {
		active[d.Name] = !slices.Contains(s.Unused, d.Name)
	}
	return &snapshots{
		from: Snapshot{Taken: noon, Devices: s.Before, NICs: s.NICsBefore, Peers: s.PeersBefore, Stats: s.StatsBefore, MissingHooks: s.MissingHooks},
		to: Snapshot{
			Taken: noon.Add(window.Window), Counts: window, Devices: s.Devices, Stats: s.Stats, Events: s.Events,
			ActiveDevices: active, Services: s.Services, ExpectQdisc: s.ExpectQdisc, Baseline: baseline,
			Coverage: s.Coverage, Doubt: s.Doubt, MissingHooks: s.MissingHooks,
			Tunnels: s.Tunnels, NICs: s.NICs, Peers: s.Peers, PeerRTT: usual, UsualRequests: requests,
		},
	}
}

func within(got, want, share float64) bool { return math.Abs(got-want) <= share*want }

func TestScenarios(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) < 20 {
		t.Fatalf("%d scenarios, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := load(t, file)
			r := s.snapshots().diagnose()
			if r.Verdict != s.Want.Verdict {
				t.Errorf("verdict %s, want %s", r.Verdict, s.Want.Verdict)
			}
			if s.Summary != "" && r.Summary != s.Summary {
				t.Errorf("summary\n got %s\nwant %s", r.Summary, s.Summary)
			}
			if len(r.Findings) != len(s.Want.Findings) {
				t.Fatalf("findings %+v, want %d", r.Findings, len(s.Want.Findings))
			}
			for i, w := range s.Want.Findings {
				f := &r.Findings[i]
				if !slices.ContainsFunc(Causes(), func(c CauseInfo) bool { return c.Cause == f.Cause && slices.Contains(c.Kinds, f.Kind) }) {
					t.Errorf("%s of kind %s is not registered", f.Cause, f.Kind)
				}
				if f.Cause != w.Cause || f.Stage != w.Stage || f.Device != w.Device || f.Severity != w.Severity {
					t.Errorf("finding %d: %s at %s %s, %s; want %s at %s %s, %s", i, f.Cause, f.Stage, f.Device, f.Severity, w.Cause, w.Stage, w.Device, w.Severity)
				}
				if w.Direction != "" && f.Direction != w.Direction {
					t.Errorf("direction %s, want %s", f.Direction, w.Direction)
				}
				if w.P50 != nil && (f.Delay.P50 == nil || !within(*f.Delay.P50, *w.P50, hist.MaxError)) {
					t.Errorf("p50 %v, want %v", f.Delay.P50, *w.P50)
				}
				if w.InFlight != nil && f.Delay.InFlight != *w.InFlight {
					t.Errorf("%d in flight, want %d", f.Delay.InFlight, *w.InFlight)
				}
				if w.Packets != nil && f.Drops.Packets != *w.Packets {
					t.Errorf("dropped %d, want %d", f.Drops.Packets, *w.Packets)
				}
				if w.Ratio != nil && !within(*f.Drops.Ratio, *w.Ratio, 0.001) {
					t.Errorf("ratio %v, want %v", *f.Drops.Ratio, *w.Ratio)
				}
				if w.Reason != nil && f.Drops.Reason != *w.Reason {
					t.Errorf("reason %s, want %s", f.Drops.Reason, *w.Reason)
				}
				if w.Confidence != nil && math.Abs(f.Confidence-*w.Confidence) > 0.01 {
					t.Errorf("confidence %v, want %v", f.Confidence, *w.Confidence)
				}
				if f.Confidence <= 0 || f.Confidence > 1 || len(f.Evidence) == 0 || len(f.Next) == 0 {
					t.Errorf("incomplete: %+v", f)
				}
				if w.Pairs != nil {
					var got []string
					for _, p := range f.Pairs {
						got = append(got, p.Src+" "+p.Dst)
					}
					if !reflect.DeepEqual(got, w.Pairs) {
						t.Errorf("pairs %q, want %q", got, w.Pairs)
					}
				}
			}
		})
	}
}

// TestGolden compares what people and programs read with the files of testdata.
func TestGolden(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"overlay-delay-and-loss", "overlay-nothing-comes-out", "healthy", "no-traffic", "no-traffic-waiting", "blind-few-packets-waiting", "healthy-requests-alone", "blind-redirected", "healthy-partly-seen", "no-answer", "remote-loss",
		"remote-loss-few", "remote-delay", "pod-loss", "no-route", "policy-forward", "receiver-slow", "server-slow", "requests-unanswered", "requests-unanswered-beyond", "requests-slow",
	} {
		e := load(t, "testdata/"+name+".json").snapshots()
		if name == "overlay-delay-and-loss" {
			e.to.Baseline = map[aggregate.StageKey]float64{{Stage: journey.Queue, Device: "tunl0", Direction: journey.Out}: 0.00002}
		}
		r := e.diagnose()
		var text, colored bytes.Buffer
		if err := r.WriteText(&text, false); err != nil {
			t.Fatal(err)
		}
		if err := r.WriteText(&colored, true); err != nil {
			t.Fatal(err)
		}
		if lines := bytes.Count(text.Bytes(), []byte("\n")); lines > 40 {
			t.Errorf("%s: %d lines do not fit on a screen", name, lines)
		}
		data, err := json.MarshalIndent(&r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden.Check(t, "testdata/golden/"+name+".txt", text.Bytes())
		golden.Check(t, "testdata/golden/"+name+".ansi", colored.Bytes())
		golden.Check(t, "testdata/golden/"+name+".report", append(data, '\n'))
	}
}
