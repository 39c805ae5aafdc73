package format

// Counted puts a number, as it is to be shown, before what it counts.
func Counted(n, noun string) string {
	if n == "1" {
		return n + " " + noun
	}
	return n + " " + noun + "s"
}
