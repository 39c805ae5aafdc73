// Package pair runs agents on two machines that are joined by a third: kernels, clocks and network cards of their own, as on a real
// network. What one kernel cannot show is compared here with what the other one counted, and both nodes' verdicts are asked. With -short that is one
// overlay, the counts and one fault.
//
//	go test ./test/pair -count=1 -v
//	go test ./test/pair -run '^TestPair$/^vxlan$/^scenarios$/^loss_at_the_router$' -count=1 -v -kernel 7.2
package pair
