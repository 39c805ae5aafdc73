// Package truth compares what the tracer measures with what is so. A lab's queues and rules are given faults of known
// size, and its load, which stamps each packet and logs how long it took, is the oracle: packet by packet. The same
// tests run on this machine and on the kernels of test/vm; what a kernel cannot do is left out of its list. That
// a sample of the packets tells the same as all of them is tested on this machine alone.
package truth
