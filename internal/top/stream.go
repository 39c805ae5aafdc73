package top

import (
	"context"
	"iter"
	"time"

	tea "charm.land/bubbletea/v2"

	"tracer/internal/overview"
)

// retry is the pause before a source that failed is asked again.
const retry = time.Second

// Source is where overviews come from: a running agent, or a tracer in this process. An error is the last that it yields.
type Source interface {
	Overviews(context.Context, overview.Query) iter.Seq2[*overview.Overview, error]
}

// Replayed is a Source that shows what is past: it stops where the view is paused, and goes frame by frame.
type Replayed interface {
	Pause(paused bool)
	Step(frames int)
}

// overviewMsg is an overview for the query of that number; errorMsg says why there is none.
type (
	overviewMsg struct {
		query    int
		overview *overview.Overview
	}
	errorMsg struct {
		query int
		err   error
	}
)

// stream reads overviews for one query at a time. Where the source fails it is asked again, for ever.
type stream struct {
	ctx      context.Context
	source   Source
	query    int // the number of the current one
	cancel   context.CancelFunc
	messages chan tea.Msg
}

// open ends the query there is and begins q.
func (s *stream) open(q overview.Query) tea.Cmd {
	if s.cancel != nil {
		s.cancel()
	}
	ctx, cancel := context.WithCancel(s.ctx)
	s.cancel = cancel
	s.query++
	messages, number := make(chan tea.Msg), s.query
	s.messages = messages
	go func() {
		send := func(m tea.Msg) bool {
			select {
			case messages <- m:
				return true
			case <-ctx.Done():
				return false
			}
		}
		for ctx.Err() == nil {
			for o, err := range s.source.Overviews(ctx, q) {
				var m tea.Msg = overviewMsg{number, o}
				if err != nil {
					m = errorMsg{number, err}
				}
				if !send(m) {
					return
				}
			}
			select {
			case <-ctx.Done():
			case <-time.After(retry):
			}
		}
	}()
	return s.next()
}

// next waits for the next message.
func (s *stream) next() tea.Cmd {
	ctx, messages := s.ctx, s.messages
	return func() tea.Msg {
		select {
		case m := <-messages:
			return m
		case <-ctx.Done():
			return nil
		}
	}
}
