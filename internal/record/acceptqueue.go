package record

// AcceptQueue is how many connections of a listening socket have not been accepted by its application, and how many may
// (sk_ack_backlog, sk_max_ack_backlog). Either is at most 32,767, which stands for all that is more.
type AcceptQueue struct {
	Length uint32 `json:"waiting"`
	Limit  uint32 `json:"most"`
	// Full tells whether the kernel drops the SYN that asks for one more (sk_acceptq_is_full).
	Full bool `json:"full"`
}
