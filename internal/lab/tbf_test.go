package lab

import (
	"math"
	"strings"
	"testing"
	"time"
)

// udp is a load of 100 packets of 100 bytes a second: 80 kbit/s.
var udp = offeredLoad{packets: 100, packetBytes: 100}

func TestPlanTBF(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault        Fault
		rate         uint64 // bytes a second
		delay, loss  float64
		limit, slack uint64
	}{
		"delay and loss":      {Fault{Delay: time.Second, Loss: 0.1}, 9000, 1, 0.1, 9100, 0},
		"delay alone":         {Fault{Delay: time.Second}, 9500, 1, 0.05, 9600, 0},
		"rate that fits loss": {Fault{Delay: time.Second, Rate: 72_000, Loss: 0.12}, 9000, 1, 0.1, 9100, 0},
		"rate and delay":      {Fault{Delay: 20 * time.Second, Rate: 50_000}, 6250, 20, 0.375, 125_100, 100},
		"rate and limit":      {Fault{Rate: 40_000, Limit: 100_000}, 5000, 20, 0.5, 100_000, 0},
		"rate alone":          {Fault{Rate: 40_000}, 5000, 30, 0.5, 150_000, 0},
		"loss alone":          {Fault{Loss: 0.5}, 5000, 0.3, 0.5, 1500, 0},
		"rate above the load": {Fault{Rate: 1e6}, 125_000, 0, 0, 3_750_000, 0},
	} {
		q, e, err := planTBF(test.fault, udp, 1464)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if q.rate != test.rate || math.Abs(float64(q.limit)-float64(test.limit)) > float64(test.slack) {
			t.Errorf("%s: %+v, want rate %d, limit %d", name, q, test.rate, test.limit)
		}
		packet := udp.packetBytes / float64(q.rate)
		if math.Abs(e.Delay-test.delay) > packet || math.Abs(e.Loss-test.loss) > 0.01 {
			t.Errorf("%s: expected %+v, want delay %v, loss %v", name, e, test.delay, test.loss)
		}
	}
}

func TestPlanTBFSaysWhatIsPossible(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault   Fault
		load    offeredLoad
		advises string
	}{
		"load below the rate":  {Fault{Delay: time.Second, Rate: 90_000}, udp, "up --rate 119"}, // 11250/0.95/100
		"loss does not follow": {Fault{Delay: time.Second, Rate: 40_000, Loss: 0.1}, udp, "drops 50%, not 10%"},
		"nothing passes":       {Fault{Delay: time.Second}, offeredLoad{packetBytes: 100}, "choose another device"},
		"too coarse":           {Fault{Delay: 10 * time.Millisecond}, udp, "to 300 or more"},
		"all is lost":          {Fault{Loss: 1}, udp, "less than 100%"},
		"hardly anything":      {Fault{Loss: 0.9999999}, udp, "less than"},
	} {
		if q, _, err := planTBF(test.fault, test.load, 1464); err == nil || !strings.Contains(err.Error(), test.advises) {
			t.Errorf("%s: %+v, %v; want advice with %q", name, q, err, test.advises)
		}
	}
}
