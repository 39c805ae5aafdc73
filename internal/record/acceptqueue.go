package record

// Listener is what is known of a listening socket's queues.
type Listener struct {
	AcceptQueue AcceptQueue `json:"accept_queue"`
	SYNQueue    SYNQueue    `json:"syn_queue"`
}

// AcceptQueue is how many connections of a listening socket have not been accepted by its application, and how many may
// (sk_ack_backlog, sk_max_ack_backlog).
type AcceptQueue struct {
	Length uint32 `json:"waiting"`
	Limit  uint32 `json:"most"`
	// Full tells whether the kernel drops the SYN that asks for one more (sk_acceptq_is_full).
	Full bool `json:"full"`
}

// SYNQueue is how many connections of a listening socket are half open: the client has not acknowledged the SYN-ACK.
type SYNQueue struct {
	Length  uint32 `json:"half_open"`
	Limit   uint32 `json:"most"`    // of the socket, the same as the accept queue's
	Backlog uint32 `json:"backlog"` // net.ipv4.tcp_max_syn_backlog; without cookies a quarter of it is kept for clients known before
	Cookies bool   `json:"cookies"` // net.ipv4.tcp_syncookies: where the queue is full, the kernel does without it
	// Full tells whether the kernel drops the SYN of a client that it does not know (tcp_conn_request).
	Full bool `json:"full"`
}
