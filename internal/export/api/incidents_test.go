package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/export/exporttest"
	"tracer/internal/incident"
	"tracer/internal/overview"
	"tracer/internal/trace/tracetest"
)

// kept is a store with an incident of three frames, one whose file is cut short, one of another version, and one that is too large; their IDs
// in this order.
func kept(t *testing.T) (*incident.Store, []string) {
	t.Helper()
	s := &incident.Store{Dir: t.TempDir()}
	var ids []string
	keep := func() string {
		i := &incident.Incident{Header: incident.Header{Version: incident.Version, Began: exporttest.Noon.Add(time.Duration(-len(ids)) * time.Hour), Node: "node-1"}}
		for k := range 3 {
			report := exporttest.Report()
			if k == 0 {
				report = diagnose.Report{Verdict: diagnose.Healthy}
			}
			counts := exporttest.Snapshot()
			counts.Window = 5 * time.Second
			i.Frames = append(i.Frames, incident.Frame{Taken: i.Began.Add(time.Duration(k) * 5 * time.Second), Counts: counts, Devices: exporttest.Devices(), Report: report})
		}
		for _, f := range exporttest.Report().Findings[:1] {
			i.Changes = append(i.Changes, incident.Change{Time: i.Began, Kind: incident.Begins, Finding: diagnose.ActiveFinding{Finding: f, Since: i.Began}})
		}
		if err := s.Begin(i, "qdisc-delay"); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, i.ID)
		return filepath.Join(s.Dir, i.ID+".jsonl")
	}
	keep()
	cut := keep()
	info, err := os.Stat(cut)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(cut, info.Size()-20); err != nil {
		t.Fatal(err)
	}
	other := keep()
	text, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(other, bytes.Replace(text, []byte(`"version":1`), []byte(`"version":7`), 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(keep(), 100<<20); err != nil {
		t.Fatal(err)
	}
	return s, ids
}

// TestIncidents: the list and each incident are answered, what cannot be read with why, and no file that is no incident.
func TestIncidents(t *testing.T) {
	t.Parallel()
	store, ids := kept(t)
	secret := filepath.Join(filepath.Dir(store.Dir), "secret.jsonl")
	if err := os.WriteFile(secret, []byte(`{"header":{"version":1,"node":"secret"}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	routes := newHandler(newSource(), tracetest.Cluster(), store).routes()
	get := func(path string, code int, into any) string {
		t.Helper()
		w := httptest.NewRecorder()
		routes.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://agent"+path, nil))
		if w.Code != code {
			t.Errorf("%s: %d, want %d: %s", path, w.Code, code, w.Body)
		}
		if into != nil {
			if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
				t.Errorf("%s: %v: %s", path, err, w.Body)
			}
		}
		return w.Body.String()
	}
	var list incident.List
	get("/v1/incidents", 200, &list)
	if len(list.Incidents) != 4 || list.Total != 4 || list.SchemaVersion != 1 {
		t.Fatalf("%+v", list)
	}
	for k, want := range []struct {
		frames, damaged int
		err             string
	}{{3, 0, ""}, {2, 1, ""}, {0, 0, "format version 7"}, {0, 0, "larger than any"}} {
		s := list.Incidents[k]
		if s.ID != ids[k] || s.Damaged != want.damaged || !strings.Contains(s.Error, want.err) || (s.Error == "") != (want.err == "") {
			t.Errorf("%d: %+v, want %+v", k, s, want)
		}
		if s.Frames != want.frames {
			t.Errorf("%d: %d frames, want %d", k, s.Frames, want.frames)
		}
	}
	if s := list.Incidents[0]; s.Cause != exporttest.Report().Findings[0].Cause || s.Node != "node-1" {
		t.Errorf("%+v", s)
	}
	get("/v1/incidents?limit=2", 200, &list)
	if len(list.Incidents) != 2 || list.Total != 4 {
		t.Errorf("limited: %d of %d", len(list.Incidents), list.Total)
	}
	for _, wrong := range []string{"0", "-1", "1001", "many"} {
		get("/v1/incidents?limit="+wrong, 400, nil)
	}

	var story incident.Story
	get("/v1/incidents/"+ids[0], 200, &story)
	if len(story.Timeline) != 3 || story.Timeline[0].Verdict != diagnose.Healthy || story.Told == 0 || story.Report.Verdict != exporttest.Report().Verdict || len(story.Changes) != 1 {
		t.Errorf("%+v", story)
	}
	get("/v1/incidents/last", 200, &story)
	if story.ID != ids[0] {
		t.Errorf("the last is %s", story.ID)
	}
	get("/v1/incidents/"+ids[1], 200, &story)
	if story.Damaged != 1 {
		t.Errorf("cut short: %+v", story.Summary)
	}
	for path, want := range map[string]string{ids[2]: "format version 7", ids[3]: "larger than any", ids[2] + "/overview": "format version 7"} {
		if text := get("/v1/incidents/"+path, 422, nil); !strings.Contains(text, want) {
			t.Errorf("%s: %s", path, text)
		}
	}
	for _, none := range []string{"none", "..%2fsecret", "..%2fsecret.jsonl", strings.ReplaceAll(secret, "/", "%2f")} {
		if text := get("/v1/incidents/"+none, 404, nil); strings.Contains(text, `"secret"`) {
			t.Errorf("%s: %s", none, text)
		}
	}

	get("/v1/incidents/2026", 400, nil)

	var o overview.Overview
	pair := exporttest.Snapshot().Pairs[0].PairKey
	q := overview.Query{By: overview.ByPair, Interval: time.Second, Pair: &pair}
	get("/v1/incidents/"+ids[0]+"/overview?frame=2&"+q.Values().Encode(), 200, &o)
	if !o.Taken.Equal(exporttest.Noon.Add(10*time.Second)) || o.Node != "node-1" || o.Detail == nil || len(o.Rows) == 0 {
		t.Errorf("%+v", o)
	}
	if h := o.Detail.History; len(h) == 0 || len(h[0].P50) != 3 || h[0].P50[2] == nil {
		t.Errorf("history: %+v", h)
	}
	for _, wrong := range []string{"frame=3", "frame=-1", "frame=x", "by=flow", "filter=p99>soon", "at=noon"} {
		get("/v1/incidents/"+ids[0]+"/overview?"+wrong, 400, nil)
	}
	routes = newHandler(newSource(), tracetest.Cluster(), nil).routes()
	get("/v1/incidents", 200, &list)
	if len(list.Incidents) != 0 {
		t.Errorf("of an agent that keeps none: %+v", list)
	}
	if text := get("/v1/incidents/last", 404, nil); !strings.Contains(text, "keeps no incidents") {
		t.Errorf("%s", text)
	}
}
