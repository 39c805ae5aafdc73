package record

// Backlog is how many connections wait for an application to accept them, and how many may: 32,767 of either stand for as
// many and more.
type Backlog struct {
	Length uint32 `json:"waiting"`
	Limit  uint32 `json:"most"`
	// Full tells whether the kernel throws away who asks for one more connection (sk_acceptq_is_full()).
	Full bool `json:"full"`
}
