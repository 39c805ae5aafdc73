// Package mcptest asks a server of the Model Context Protocol as a program does.
package mcptest

import (
	"slices"
	"testing"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"tracer/internal/mcp"
)

// Connect connects to a server, of which it checks that it has these tools, in the order of their names, and that they read only. What it
// returns calls one of them: it returns the text of the answer, of which it checks the size, and whether the tool failed.
func Connect(t *testing.T, server *mcp.Server, tools ...string) func(tool string, arguments map[string]any) (text string, failed bool) {
	t.Helper()
	here, there := sdk.NewInMemoryTransports()
	if _, err := server.Connect(t.Context(), here, nil); err != nil {
		t.Fatal(err)
	}
	session, err := sdk.NewClient(&sdk.Implementation{Name: "test", Version: "1"}, nil).Connect(t.Context(), there, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.Close() })
	list, err := session.ListTools(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range list.Tools {
		names = append(names, tool.Name)
		if a := tool.Annotations; a == nil || !a.ReadOnlyHint || a.DestructiveHint == nil || *a.DestructiveHint {
			t.Errorf("%s is not said to read only", tool.Name)
		}
	}
	if slices.Sort(names); !slices.Equal(names, tools) {
		t.Errorf("tools: %v", names)
	}
	return func(tool string, arguments map[string]any) (text string, failed bool) {
		t.Helper()
		r, err := session.CallTool(t.Context(), &sdk.CallToolParams{Name: tool, Arguments: arguments})
		if err != nil {
			t.Fatalf("%s: %v", tool, err)
		}
		for _, c := range r.Content {
			text += c.(*sdk.TextContent).Text
		}
		if len(text) > mcp.MaxAnswer {
			t.Errorf("%s %v answers with %d bytes", tool, arguments, len(text))
		}
		return text, r.IsError
	}
}
