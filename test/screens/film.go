package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"tracer/test/terminal"
)

// film records tracer top while the fault is put in: healthy, slow, and the pair that it hurts in detail.
func (s *node) film(ctx context.Context, dir string) (err error) {
	term, err := terminal.Start(columns, rows, []string{"TERM=xterm-256color"}, s.line("top")...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, term.Close()) }()
	if err := await(ctx, term, "HEALTHY", "web"); err != nil {
		return err
	}
	recording, stop := context.WithCancel(ctx)
	defer stop()
	var frames []frame
	recorded := make(chan error, 1)
	go func() {
		var err error
		frames, err = record(recording, term)
		recorded <- err
	}()
	err = s.play(ctx, term)
	stop()
	if err := errors.Join(err, <-recorded); err != nil {
		return err
	}
	name := filepath.Join(dir, "demo.svg")
	if err := os.WriteFile(name, []byte(movie("tracer top", frames, columns)), 0o644); err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}

// play is what happens in the film.
func (s *node) play(ctx context.Context, term *terminal.Terminal) error {
	if err := pause(ctx, 5*time.Second); err != nil {
		return err
	}
	if err := s.fault(ctx); err != nil {
		return err
	}
	if err := await(ctx, term, "FAULT", "!queue"); err != nil {
		return err
	}
	if err := pause(ctx, 12*time.Second); err != nil {
		return err
	}
	if err := term.Press("Enter"); err != nil {
		return err
	}
	if err := await(ctx, term, "in flight", "critical"); err != nil {
		return err
	}
	return pause(ctx, 6*time.Second)
}

// record takes the screen each time that it has changed, until the context ends.
func record(ctx context.Context, term *terminal.Terminal) (frames []frame, err error) {
	for begin := time.Now(); ; {
		at := time.Since(begin)
		screen, err := term.Styled()
		if err != nil {
			return nil, err
		}
		if len(frames) == 0 || frames[len(frames)-1].screen != screen {
			frames = append(frames, frame{at, screen})
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return frames, nil
		}
	}
}
