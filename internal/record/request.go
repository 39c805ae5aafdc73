package record

import "time"

// Outcome is what became of a request.
type Outcome uint8

// The outcomes of a Request.
const (
	Answered       Outcome = iota + 1 // the first packet of its answer passed
	Connected                         // it is a SYN, and its SYN-ACK passed
	GivenUp                           // who asked has closed or reset the connection without an answer, or asked anew
	Closed                            // who was asked has closed or reset the connection instead of an answer
	TimedOut                          // it has waited for so long that it counts as unanswered; an answer may come all the same
	HalfClosed                        // likewise after some seconds, as who asked has closed its half of the connection since
	ConnectTimeout                    // as TimedOut, and it is a SYN
	LeftOut                           // no request: a connection of which some were timed turned out not to alternate, so that none is any more
)

// Request is a request at the device of a pod of this node. For TCP it is what the end that opened the connection sends until the other
// one sends something, and the SYN; for UDP the datagrams of the end that asks. It is immutable.
type Request struct {
	Outcome Outcome
	// Client tells that the pod has asked; else it was asked.
	Client bool
	// Took is the time from the request's last packet, of a connect from its first SYN, to the first of the answer; or to when it was
	// given up or told: of one HalfClosed to the client's FIN.
	Took time.Duration
	// Repeated tells that a packet of it was sent again: its time has a retransmission in it, the time-out of one at most.
	Repeated bool
	// Told tells, of one that was GivenUp or Closed, that there was a record before which said that it has no answer.
	Told bool
}
