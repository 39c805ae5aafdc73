package diagnose

// SGR sequences (ECMA-48) of the few colours of reports, a node's and a cluster's.
const (
	Bold  = "\x1b[1m"
	Red   = "\x1b[1;31m"
	Green = "\x1b[1;32m"
	Amber = "\x1b[1;33m"
	Faint = "\x1b[2m"

	reset = "\x1b[0m"
)

// Painter colours text, or leaves it plain where it is false.
type Painter bool

// Paint puts a text into one of the colours.
func (p Painter) Paint(code, text string) string {
	if !p {
		return text
	}
	return code + text + reset
}
