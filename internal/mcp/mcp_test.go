package mcp

import (
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"tracer/internal/diagnose"
)

// TestInTurn: calls wait for each other.
func TestInTurn(t *testing.T) {
	t.Parallel()
	var running, most atomic.Int32
	s := New("v1", "about")
	Add(s, "tool", "what", func(context.Context, struct{}) (*mcp.CallToolResult, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		time.Sleep(time.Millisecond)
		return &mcp.CallToolResult{}, nil
	})
	here, there := mcp.NewInMemoryTransports()
	if _, err := s.Connect(t.Context(), here, nil); err != nil {
		t.Fatal(err)
	}
	session, err := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	var group sync.WaitGroup
	for range 20 {
		group.Go(func() {
			if _, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "tool"}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if most.Load() != 1 {
		t.Errorf("%d calls run at once", most.Load())
	}
}

// TestAnswer: answers about a node full of trouble are cut to what an answer may have, and one that cannot be is refused.
func TestAnswer(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 500)
	report := diagnose.Report{Coverage: make([]diagnose.Coverage, 1000), Findings: []diagnose.Finding{{Evidence: slices.Repeat([]string{long}, 500)}}}
	if r, err := Answer(report, ShortenReport); err != nil || len(r.Content[0].(*mcp.TextContent).Text) > MaxAnswer {
		t.Errorf("%v", err)
	}
	if _, err := Answer(strings.Repeat("x", MaxAnswer), func(*string) bool { return false }); err == nil {
		t.Error("an answer that is too large is given")
	}
}
