/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How long requests take at a pod: from the last packet of a request to the first of its answer, as they pass the pod's device.
 * Where the pod is the client that is the whole remote call, where it is the server it is its own time. For TCP a request is
 * payload of who opened the connection, its answer is payload of the other end; a SYN and its SYN-ACK are a connect. For UDP
 * they are datagrams of one tuple. Of the payload nothing is read but its length.
 *
 * A connection is watched, or not, by a hash of its tuple: whole, and in a fair sample. Both ends of one in this node are two
 * connections here, as the device belongs to it. Two CPUs may write one slot, where packets of both directions pass at once:
 * those of a connection that alternates follow one another.
 */
#ifndef TRACER_REQUEST_BPF_H
#define TRACER_REQUEST_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "counter.bpf.h"
#include "record.h"
#include "send.bpf.h"
#include "watched.bpf.h"

/* Sends what became of the request that a connection had asked at that time. */
__noinline int send_request(__u32 place, __u32 kind, __u64 asked_ns, __u64 now)
{
	struct watched *w = watched_at(place);
	struct request_record *r = bpf_ringbuf_reserve(&tracer_records, sizeof(*r), 0);
	if (!r) {
		count_softirq(COUNT_MISSED_REQUEST);
		return 0;
	}
	r->kind = RECORD_REQUEST;
	r->ifindex = w->ifindex;
	r->time_ns = now;
	r->asked_ns = asked_ns;
	r->weight = w->weight;
	r->what = kind;
	r->client = w->client;
	r->repeated = w->flags & WATCHED_REPEATED ? 1 : 0;
	r->pad = 0;
	r->flow = w->flow;
	submit_record(r);
	w->flags &= ~WATCHED_REPEATED;
	return 0;
}

/* A packet shows that the connection does not alternate, or that one of its directions passes elsewhere: once may be chance. */
static __always_inline void note_overlap(struct watched *w, enum counter why)
{
	if (w->overlaps++)
		leave_out(w, why);
}

/* Payload that is new. */
static __always_inline __u32 on_payload(struct watched *w, __u32 from, __u32 sequence, __u32 acknowledged, __u32 bytes,
					__u64 now)
{
	__u32 expected = w->next[from], asked = w->state == WATCHED_ASKED;
	/* Whoever asks has got the last answer in full, and whoever answers the request: all that has passed here, and no more. */
	__s32 missing = w->next[!from] - acknowledged;

	w->next[from] = sequence + bytes;
	if (from == w->client) {
		w->asked_ns = now;
		w->flags &= asked ? ~0 : ~(WATCHED_GAP | WATCHED_REPEATED);
		w->flags |= (__s32)(sequence - expected) > 0 ? WATCHED_GAP : 0;
		w->state = WATCHED_ASKED;
		if (asked || !missing)
			return 0;
	} else if (!asked) {
		return 0;
	} else if (!missing) {
		w->state = WATCHED_IDLE;
		if (!(++w->answers % OVERLAPS_FORGOTTEN_AFTER))
			w->overlaps = 0;
		return REQUEST_ANSWERED;
	}
	w->state = WATCHED_IDLE;
	if (missing < 0)
		w->next[!from] = acknowledged;
	note_overlap(w, missing < 0 ? COUNT_LEFT_OUT_UNSEEN : COUNT_LEFT_OUT_OVERLAP);
	return 0;
}

/* A SYN, or a SYN-ACK. */
static __always_inline __u32 on_syn(struct watched *w, __u32 from, __u32 sequence, __u32 acknowledged, bool answers,
				    __u64 now)
{
	bool is_client = from == w->client, opening = w->state == WATCHED_OPENING;

	if (answers) {
		w->next[from] = sequence + 1;
		if (!opening || is_client)
			return 0;
		/* With TCP Fast Open the SYN has brought a request, if this acknowledges more than the SYN. */
		w->state = acknowledged == w->next[!from] ? WATCHED_IDLE : WATCHED_ASKED;
		w->next[!from] = acknowledged;
		return REQUEST_CONNECTED;
	}
	if (opening && is_client && w->next[from] == sequence + 1) {
		w->flags |= WATCHED_REPEATED;
		return 0;
	}
	/* A new connection, be it of a tuple that was another's until now. */
	__u32 kind = w->state == WATCHED_ASKED ? REQUEST_GIVEN_UP : 0;
	w->state = WATCHED_OPENING;
	w->client = from;
	w->next[from] = sequence + 1;
	w->asked_ns = now;
	w->answers = 0;
	w->flags = 0;
	w->overlaps = 0;
	return kind;
}

/* A segment of TCP. Returns an enum request_kind if it ends a request, and GONE. */
__noinline int on_segment(__u32 place, __u32 sequence, __u32 acknowledged, __u64 piece, __u64 now)
{
	struct watched *w = watched_at(place);
	__u32 from = piece / PIECE_FROM & 1, bytes = piece >> PIECE_BYTES_SHIFT;
	int kind = 0;

	if (piece & TCP_RST)
		return w->state == WATCHED_ASKED ? REQUEST_GIVEN_UP | GONE : GONE;
	if (piece & TCP_SYN)
		return on_syn(w, from, sequence, acknowledged, piece & TCP_ACK, now);
	bool is_client = from == w->client;
	if (w->state == WATCHED_OPENING && is_client)
		leave_out(w, COUNT_LEFT_OUT_UNSEEN); /* it has got a SYN-ACK that passed elsewhere */
	if (bytes && w->state != WATCHED_LEFT_OUT) {
		if ((__s32)(sequence + bytes - w->next[from]) > 0) {
			kind = on_payload(w, from, sequence, acknowledged, bytes, now);
		} else if (is_client && w->state == WATCHED_ASKED) {
			/* Sent again, or missing behind a gap: with that the request is whole. */
			if (w->flags & WATCHED_GAP)
				w->asked_ns = now;
			w->flags |= WATCHED_REPEATED;
		}
	}
	if (!(piece & TCP_FIN))
		return kind;
	w->next[from] = sequence + bytes + 1;
	w->flags |= WATCHED_FIN_POD << from;
	/* A client that closes may have closed its own half alone. */
	if (!is_client && w->state == WATCHED_ASKED) {
		w->state = WATCHED_IDLE;
		kind = REQUEST_GIVEN_UP;
	}
	if ((w->flags & WATCHED_FINS) == WATCHED_FINS)
		kind |= GONE;
	return kind;
}

/* The same of a datagram. */
static __always_inline int on_datagram(struct watched *w, __u32 piece, __u64 now)
{
	__u32 from = piece / PIECE_FROM & 1;

	w->next[from]++;
	if (w->state == WATCHED_LEFT_OUT)
		return 0;
	bool asked = w->state == WATCHED_ASKED;
	if (from == w->client) {
		__u64 waited = asked ? now - w->asked_ns : 0;
		bool over = waited > DATAGRAM_WAIT_SECONDS * SECOND;
		if (waited > ASK_AGAIN_NS && !over) {
			w->flags |= WATCHED_REPEATED;
			return 0;
		}
		w->flags &= asked ? ~0 : ~WATCHED_REPEATED;
		w->state = WATCHED_ASKED;
		w->asked_ns = now;
		return over ? REQUEST_GIVEN_UP : 0;
	}
	if ((__s32)(w->next[from] - w->next[!from]) > STREAM_DATAGRAMS) {
		leave_out(w, COUNT_LEFT_OUT_OVERLAP);
		return 0;
	}
	if (!asked)
		return 0;
	w->state = WATCHED_IDLE;
	w->answers++;
	return REQUEST_ANSWERED;
}

/* Whether the time is needed of a packet: by far not of each. */
static __always_inline bool needs_time(const struct watched *w, __u64 piece)
{
	bool asked = w->state == WATCHED_ASKED;

	if (!(piece & PIECE_TCP) || piece & TCP_SYN)
		return true;
	if (w->state == WATCHED_LEFT_OUT)
		return false;
	if (piece >> PIECE_BYTES_SHIFT)
		return asked || (piece / PIECE_FROM & 1) == w->client;
	return asked && piece & (TCP_RST | TCP_FIN);
}

#endif
