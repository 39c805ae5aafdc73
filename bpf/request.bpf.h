/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How long requests take at a pod: from the last packet of a request to the first of its answer, as they pass the pod's device.
 * Where the pod is the client that is the whole remote call, where it is the server it is its own time. For TCP a request is
 * payload of who opened the connection, its answer is payload of the other end; a SYN and its SYN-ACK are a connect. For UDP
 * they are datagrams of one tuple. Of the payload nothing is read but its length, and the ID of a DNS query.
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
	__u32 weight = settings.watch_weight;
	struct request_record *r = bpf_ringbuf_reserve(&tracer_records, sizeof(*r), 0);
	if (!r) {
		count_softirq(COUNT_MISSED_REQUEST);
		return 0;
	}
	r->kind = RECORD_REQUEST;
	r->ifindex = w->ifindex;
	if (kind == REQUEST_CONNECTED && w->connect_ns)
		now = asked_ns + w->connect_ns;
	else if (kind == REQUEST_GIVEN_UP && (__s64)(w->closed_ns - asked_ns) > 0)
		now = w->closed_ns;
	r->time_ns = now;
	r->asked_ns = asked_ns;
	/* If more are watched than when it began, those are counted that were not watched then. */
	r->weight = w->weight < weight ? w->weight : weight;
	r->what = kind;
	r->client = w->client;
	r->repeated = w->flags & WATCHED_REPEATED ? 1 : 0;
	r->pad = 0;
	r->flow = w->flow;
	submit_record(r);
	w->flags &= ~WATCHED_REPEATED;
	return 0;
}

/* A packet shows that the connection does not alternate, or, if unseen, that one of its directions passes elsewhere: once may be chance. */
__noinline int note_overlap(__u32 place, __u32 unseen)
{
	struct watched *w = watched_at(place);

	if (!w->overlaps++)
		return 0;
	if (unseen)
		leave_out(w, COUNT_LEFT_OUT_UNSEEN);
	else
		leave_out(w, COUNT_LEFT_OUT_OVERLAP);
	return 0;
}

/*
 * A connection ends, by the side from, on which may be asked; of what the client has sent so much is not acknowledged by that. Returns
 * REQUEST_GIVEN_UP or REQUEST_CLOSED if that was a request, and not a farewell or a control frame: TLS' close_notify, a database's "quit",
 * a WINDOW_UPDATE of HTTP/2. What is asked over a connection that the other end closes at that time, or has closed before, as pools do, is none.
 * It was the client that gave up if it has closed its half of the connection before: a server that reads the end closes as well.
 */
__noinline int give_up(__u32 place, __u32 from, __s32 missing, __u64 now)
{
	const struct watched *w = watched_at(place);
	__u32 flags = w->flags, client = w->client & 1, by_other = (from ^ client) & 1;

	if (w->state != WATCHED_ASKED || flags & (WATCHED_MIXED | WATCHED_LAST_WORD | WATCHED_FIN_OTHER >> client))
		return 0;
	if (by_other ? missing > 0 : (__s64)(now - w->asked_ns) < FAREWELL_NS)
		return 0;
	if (!(flags & WATCHED_REPEATED) && w->next[client] - w->began < SMALL_REQUEST)
		return 0;
	return by_other && !(flags & WATCHED_FIN_POD << client) ? REQUEST_CLOSED : REQUEST_GIVEN_UP;
}

/* Payload that is new, of who asks. Returns REQUEST_CONNECTED if nothing had shown before that there is such a client. */
__noinline int on_question(__u32 place, __u32 sequence, __u32 expected, __s32 missing, __u64 now)
{
	struct watched *w = watched_at(place);
	bool asked = w->state == WATCHED_ASKED, opened = w->state == WATCHED_OPENED;
	__s64 pause = now - w->asked_ns;

	if (!asked) {
		w->began = sequence;
		w->flags &= opened ? ~0 : ~(WATCHED_GAP | WATCHED_REPEATED | WATCHED_MIXED);
	}
	w->flags |= (__s32)(sequence - expected) > 0 ? WATCHED_GAP : 0;
	w->asked_ns = now;
	w->state = WATCHED_ASKED;
	if (missing < 0) {
		note_overlap(place, true);
	} else if (!asked && missing > 0) {
		w->state = WATCHED_IDLE;
		note_overlap(place, false);
	} else if (asked && pause > PAUSE_NS && expected - w->began < UNPAUSED_REQUEST &&
		   !(w->flags & (WATCHED_GAP | WATCHED_REPEATED | WATCHED_MIXED))) {
		/* One request, written slowly, or two: which one is answered next, nobody knows. */
		w->flags |= WATCHED_MIXED;
		note_overlap(place, false);
	}
	return opened ? REQUEST_CONNECTED : 0;
}

/* ... and of the other end. */
static __always_inline int on_answer(struct watched *w, __u32 place, __s32 missing)
{
	bool asked = w->state == WATCHED_ASKED;

	if (missing < 0)
		note_overlap(place, true);
	if (!asked || w->state == WATCHED_LEFT_OUT)
		return 0;
	w->state = WATCHED_IDLE;
	if (missing) {
		if (missing > 0)
			note_overlap(place, false);
		return 0;
	}
	if (!(++w->answers % OVERLAPS_FORGOTTEN_AFTER))
		w->overlaps = 0;
	return w->flags & WATCHED_MIXED ? 0 : REQUEST_ANSWERED;
}

/* A SYN, or a SYN-ACK. */
__noinline int on_syn(__u32 place, __u32 sequence, __u32 acknowledged, __u32 piece, __u64 now)
{
	struct watched *w = watched_at(place);
	__u32 from = piece / PIECE_FROM & 1;
	bool is_client = from == w->client, opening = w->state == WATCHED_OPENING;

	if (piece & TCP_ACK) {
		if (!opening || is_client)
			return 0;
		w->next[from] = sequence + 1;
		w->flags |= WATCHED_ACCEPTED;
		/* With TCP Fast Open the SYN has brought a request, if this acknowledges more than the SYN. */
		bool asked = acknowledged != w->next[!from];
		w->next[!from] = acknowledged;
		if (asked || !w->client) {
			w->state = asked ? WATCHED_ASKED : WATCHED_IDLE;
			return REQUEST_CONNECTED;
		}
		/* Anybody can have a pod answer a SYN: wait until the client goes on. */
		w->state = WATCHED_OPENED;
		__u64 took = now - w->asked_ns;
		w->connect_ns = took < ~0u ? took | 1 : ~0u; /* 0 would be none */
		return 0;
	}
	__s64 age = now - w->asked_ns;
	__s32 later = sequence + 1 - w->next[from];
	if (is_client && opening && !later) {
		w->flags |= WATCHED_REPEATED;
		return 0;
	}
	/* Late, or twice: who uses a tuple again soon begins behind where it was. */
	if (is_client && !opening && later <= 0 && !(w->flags & WATCHED_FINS) && age < (__s64)(SYN_SECONDS * SECOND))
		return 0;
	/* A new connection, be it of a tuple that was another's until now. */
	int kind = give_up(place, !w->client, 0, now) ? REQUEST_GIVEN_UP : 0;
	w->state = WATCHED_OPENING;
	w->client = from;
	w->next[from] = sequence + 1;
	w->began = sequence + 1;
	w->asked_ns = now;
	w->answers = 0;
	w->flags = 0;
	w->overlaps = 0;
	w->connect_ns = 0;
	return kind;
}

/* A FIN, behind what payload it has. Returns an enum request_kind if it ends a request, and GONE. */
__noinline int on_fin(__u32 place, __u64 piece, __u32 sequence, __u32 acknowledged, __u64 now)
{
	struct watched *w = watched_at(place);
	__u32 from = piece / PIECE_FROM & 1, bytes = piece >> PIECE_BYTES_SHIFT;
	int kind = 0;

	if (from != w->client) {
		/* One that has overtaken the answer ends nothing: that will be sent again. */
		if (!bytes && (__s32)(sequence - w->next[from]) > 0)
			return 0;
		kind = give_up(place, from, w->next[!from] - acknowledged, now);
		if (w->state == WATCHED_ASKED)
			w->state = WATCHED_IDLE;
	} else if (w->state == WATCHED_OPENED) {
		w->state = WATCHED_IDLE;
		kind = REQUEST_CONNECTED;
	} else if (w->state == WATCHED_ASKED && (__s64)(now - w->asked_ns) < FAREWELL_NS) {
		/* It may have closed its own half alone, and be answered yet. */
		w->flags |= WATCHED_LAST_WORD;
	}
	if (from == w->client && !(w->flags & WATCHED_FIN_POD << from))
		w->closed_ns = now;
	w->next[from] = sequence + bytes + 1;
	w->flags |= WATCHED_FIN_POD << from;
	return (w->flags & WATCHED_FINS) == WATCHED_FINS ? kind | GONE : kind;
}

/* A segment of TCP. Returns an enum request_kind if it ends a request, and GONE. */
__noinline int on_segment(__u32 place, __u32 sequence, __u32 acknowledged, __u64 piece, __u64 now)
{
	struct watched *w = watched_at(place);
	__u32 from = piece / PIECE_FROM & 1, bytes = piece >> PIECE_BYTES_SHIFT;
	int kind = 0;

	if (piece & TCP_SYN && !(piece & TCP_RST))
		return on_syn(place, sequence, acknowledged, piece, now);
	__u32 is_client = from == w->client, state = w->state;
	if (state == WATCHED_OPENING && is_client) {
		/* It opens still if the other end took its SYN for one of an old connection. */
		if (!(piece & TCP_RST))
			leave_out(w, COUNT_LEFT_OUT_UNSEEN); /* it has got a SYN-ACK that passed elsewhere */
		return 0;
	}
	if (piece & TCP_RST)
		return give_up(place, from, piece & TCP_ACK ? w->next[!from] - acknowledged : 0, now) | GONE;
	if (bytes && state != WATCHED_LEFT_OUT) {
		__u32 expected = w->next[from];
		/* Whoever asks has got the last answer in full, and whoever answers the request: all that has passed here, and no more. */
		__s32 missing = w->next[!from] - acknowledged;
		if ((__s32)(sequence + bytes - expected) > 0) {
			w->next[from] = sequence + bytes;
			if (missing < 0)
				w->next[!from] = acknowledged;
			kind = is_client ? on_question(place, sequence, expected, missing, now) : on_answer(w, place, missing);
		} else if (is_client && state == WATCHED_ASKED) {
			/* Sent again, or missing behind a gap: with that the request is whole. */
			if (w->flags & WATCHED_GAP)
				w->asked_ns = now;
			w->flags |= WATCHED_REPEATED;
		}
	}
	if (piece & TCP_FIN) {
		int ended = on_fin(place, piece, sequence, acknowledged, now);
		kind = ended & ~GONE ? ended : kind | ended;
	}
	return kind;
}

/* The same of a datagram. */
__noinline int on_datagram(__u32 place, __u32 piece, __u64 now)
{
	struct watched *w = watched_at(place);
	__u32 from = piece / PIECE_FROM & 1;
	bool asked = w->state == WATCHED_ASKED;

	if (w->state == WATCHED_LEFT_OUT)
		return 0;
	if (from == w->client) {
		__s64 waited = asked ? now - w->asked_ns : 0; /* below 0 if another CPU has sent one meanwhile */
		bool over = waited > (__s64)(DATAGRAM_WAIT_SECONDS * SECOND);
		if (waited > ASK_AGAIN_NS && !over) {
			w->flags |= WATCHED_REPEATED;
			return 0;
		}
		if (!asked) {
			/* Answers that are still owed to what was mixed up may come yet, unless nothing was asked for a while. */
			__s32 owed = w->flags & WATCHED_MIXED && (__s64)(now - w->asked_ns) < ASK_AGAIN_NS ?
					     w->next[from] - w->next[!from] :
					     0;
			w->flags &= owed > 0 ? ~WATCHED_REPEATED : ~(WATCHED_REPEATED | WATCHED_MIXED);
			w->next[from] = owed > 0 ? owed : 0;
			w->next[!from] = 0;
		}
		w->next[from]++;
		w->state = WATCHED_ASKED;
		if (waited > PAUSE_NS && !over) {
			/* Another request before the answer to the last one: to which the next answer is, nobody knows. */
			w->flags |= WATCHED_MIXED;
			note_overlap(place, false);
		}
		w->asked_ns = now;
		return over ? REQUEST_GIVEN_UP : 0;
	}
	if (++w->next[from] > STREAM_DATAGRAMS) {
		leave_out(w, COUNT_LEFT_OUT_OVERLAP);
		return 0;
	}
	if (!asked)
		return 0;
	w->state = WATCHED_IDLE;
	if (!(++w->answers % OVERLAPS_FORGOTTEN_AFTER))
		w->overlaps = 0;
	return w->flags & WATCHED_MIXED ? 0 : REQUEST_ANSWERED;
}

/* Whether the time is needed of a packet: by far not of each. */
static __always_inline bool needs_time(const struct watched *w, __u64 piece)
{
	bool asked = w->state == WATCHED_ASKED;

	if ((piece & (PIECE_TCP | TCP_SYN)) == (PIECE_TCP | TCP_SYN))
		return true;
	if (w->state == WATCHED_LEFT_OUT)
		return false;
	if (!(piece & PIECE_TCP))
		return true;
	if (piece >> PIECE_BYTES_SHIFT)
		return asked || (piece / PIECE_FROM & 1) == w->client;
	return asked && piece & (TCP_RST | TCP_FIN);
}

#endif
