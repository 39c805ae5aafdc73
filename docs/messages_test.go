package docs

import (
	"os"
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	// quoted is a message in the first column of a table, or one of several there.
	quoted = regexp.MustCompile("`([^`]+)`")
	// symptom is what stands there and is no message: a command, a metric, a field, a name.
	symptom = regexp.MustCompile(`^(tracer |tracer_|outcome=|"torn"|sample_ratio|_|other$|xmit$|remote-)`)
)

// TestMessages looks in the code for each message that troubleshooting.md explains.
func TestMessages(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for name, text := range sources(t) {
		if path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") {
			code.WriteString(text)
		}
	}
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			continue
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if !symptom.MatchString(m[1]) && !strings.Contains(code.String(), m[1]) {
				t.Errorf("no code prints %q, which troubleshooting.md explains", m[1])
			}
		}
	}
}
