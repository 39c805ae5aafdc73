package top

import (
	"context"
	"iter"
	"time"

	tea "charm.land/bubbletea/v2"

	"tracer/internal/overview"
)

// retry is the pause before a stream that broke is opened again.
const retry = time.Second

// Source is where overviews come from: a running agent, or a tracer of our own. An error is the last that it yields.
type Source interface {
	Overviews(context.Context, overview.Query) iter.Seq2[*overview.Overview, error]
}

// frameMsg is an overview for the query of that number; failMsg says that there is none for now.
type (
	frameMsg struct {
		query    int
		overview *overview.Overview
	}
	failMsg struct {
		query int
		err   error
	}
)

// feed reads overviews for one query at a time. A stream that breaks is opened again, for ever.
type feed struct {
	ctx      context.Context
	source   Source
	query    int // the number of the current one
	cancel   context.CancelFunc
	messages chan tea.Msg
}

// ask ends the stream there is and opens one for q.
func (f *feed) ask(q overview.Query) tea.Cmd {
	if f.cancel != nil {
		f.cancel()
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.cancel = cancel
	f.query++
	messages, number := make(chan tea.Msg), f.query
	f.messages = messages
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
			for o, err := range f.source.Overviews(ctx, q) {
				var m tea.Msg = frameMsg{number, o}
				if err != nil {
					m = failMsg{number, err}
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
	return f.next()
}

// next waits for the next message.
func (f *feed) next() tea.Cmd {
	ctx, messages := f.ctx, f.messages
	return func() tea.Msg {
		select {
		case m := <-messages:
			return m
		case <-ctx.Done():
			return nil
		}
	}
}
