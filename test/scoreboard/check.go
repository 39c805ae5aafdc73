package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// check is a figure that is not tracer's, and what it must be within the window: by it we know that a fault hurts.
type check struct {
	// One of three: what the load saw of itself (see oracleValue) …
	Oracle string `yaml:"oracle"`
	// … by how much the numbers grow that a command in a place prints, those that match a regular expression's group …
	On    string `yaml:"on"`
	Run   string `yaml:"run"`
	Match string `yaml:"match"`
	// … or how much a traffic did ("done" or "failed"), by its number in the file, from 0.
	Traffic *int   `yaml:"traffic"`
	Count   string `yaml:"count"`

	Least *float64 `yaml:"least"`
	Most  *float64 `yaml:"most"`
}

func (c check) validate(traffics int) error {
	kinds := 0
	if c.Oracle != "" {
		kinds++
		if _, err := oracleValue(lab.Report{}, c.Oracle); err != nil {
			return err
		}
	}
	if c.Run != "" {
		kinds++
		if re, err := regexp.Compile(c.Match); err != nil || re.NumSubexp() != 1 || c.On == "" {
			return fmt.Errorf("check %q: say where (on:), and give a regular expression with one group (match:)", c.Run)
		}
	}
	if c.Traffic != nil {
		kinds++
		if *c.Traffic < 0 || *c.Traffic >= traffics || c.Count != "done" && c.Count != "failed" {
			return fmt.Errorf("check of traffic %d: give the number of one, from 0, and count: done or failed", *c.Traffic)
		}
	}
	if kinds != 1 || c.Least == nil && c.Most == nil {
		return fmt.Errorf("check %+v: give one of oracle, run and traffic, and a least or a most", c)
	}
	return nil
}

func (c check) String() string {
	switch {
	case c.Oracle != "":
		return "the load's " + c.Oracle
	case c.Run != "":
		return fmt.Sprintf("%q of %q on %s", c.Match, c.Run, c.On)
	}
	return fmt.Sprintf("%s of traffic %d", c.Count, *c.Traffic)
}

// judge says what is wrong with a value.
func (c check) judge(value float64) error {
	if c.Least != nil && !(value >= *c.Least) {
		return fmt.Errorf("%v is %.4g, not %v or more", c, value, *c.Least)
	}
	if c.Most != nil && !(value <= *c.Most) {
		return fmt.Errorf("%v is %.4g, not %v or less", c, value, *c.Most)
	}
	return nil
}

// reality watches a scenario's checks through the window.
type reality struct {
	p      *play
	from   time.Duration // CLOCK_MONOTONIC
	before []float64
}

// watch reads what counts up, at the start of the window.
func (p *play) watch(ctx context.Context) (*reality, error) {
	r := &reality{p: p, from: load.Monotonic()}
	for _, c := range p.Real {
		value := 0.0
		if c.Oracle == "" {
			var err error
			if value, err = p.counter(ctx, c); err != nil {
				return nil, err
			}
		}
		r.before = append(r.before, value)
	}
	return r, nil
}

// end says what was not as it must be.
func (r *reality) end(ctx context.Context) error {
	seen, err := r.p.lab.Oracle(r.from, load.Monotonic())
	if err != nil {
		return err
	}
	var errs []error
	for i, c := range r.p.Real {
		var value float64
		if c.Oracle != "" {
			value, err = oracleValue(seen, c.Oracle)
		} else if value, err = r.p.counter(ctx, c); err == nil {
			value -= r.before[i]
		}
		if err == nil {
			err = c.judge(value)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// counter reads what counts up.
func (p *play) counter(ctx context.Context, c check) (float64, error) {
	if c.Traffic != nil {
		t := p.traffic[*c.Traffic]
		if c.Count == "failed" {
			return float64(t.failed.Load()), nil
		}
		return float64(t.done.Load()), nil
	}
	out, err := p.do(ctx, step{c.On, c.Run})
	if err != nil {
		return 0, err
	}
	match, err := p.fill(c.Match)
	if err != nil {
		return 0, err
	}
	re, err := regexp.Compile(match)
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, m := range re.FindAllStringSubmatch(out, -1) {
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("check %q: %w", c.Run, err)
		}
		sum += n
	}
	return sum, nil
}

// oracleValue reads one figure of what the load saw of itself. Times are seconds; "missing" is the share of packets
// that were sent and did not arrive, be they lost or still on the way; "calls" is how many calls were answered.
func oracleValue(r lab.Report, name string) (float64, error) {
	missing := func(w lab.OneWay) float64 {
		if w.Sent == 0 {
			return 0
		}
		return 1 - float64(w.Received)/float64(w.Sent)
	}
	switch name {
	case "request.p50":
		return r.Request.Delay.P50, nil
	case "request.p99":
		return r.Request.Delay.P99, nil
	case "request.missing":
		return missing(r.Request), nil
	case "response.p50":
		return r.Response.Delay.P50, nil
	case "response.missing":
		return missing(r.Response), nil
	case "roundtrip.p50":
		return r.RoundTrip.P50, nil
	case "tcp.p50":
		return r.TCP.P50, nil
	case "tcp.max":
		return r.TCP.Max, nil
	case "tcp.calls":
		return float64(r.TCP.Count), nil
	}
	return 0, fmt.Errorf("the load knows no figure %q", name)
}
