package top

// help is what the keys do.
var help = []string{
	"1 2 3 4, tab      pairs, services, flows, devices",
	"↑ ↓ k j           move; PgUp PgDn Home End too",
	"enter             look closely: a pair's waterfall, a device's qdiscs",
	"v                 go to what the verdict names, and on to the next finding",
	"esc               back; in a table: no filter any more",
	"s S               sort by the next, the previous column; r reverses",
	"/                 filter: texts and conditions, all of which must hold:",
	"                  web  dst=api  device=tunl0  p99>10ms  pps>1k  drops>0  held>0",
	"space             pause, and go on",
	"[ ]               of a replay: the frame before, the next one",
	"+ -               longer, shorter interval",
	"? q               this help, quit",
	"",
	"A bar divides the time on this node among its stages. \"!\" marks what is not",
	"as it should be: a stage beyond its threshold, a device with a finding, a",
	"pair without an answer. Rows are of the interval, sorted by what hurts most:",
	"the extra time of their packets, a lost one counting 200 ms and its round",
	"trip. The verdict is of the last 15 s; an agent that has seen less than 9 s",
	"is watching.",
}
