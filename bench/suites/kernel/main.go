//go:build linux

// Command kernel measures what watching the kernel costs, and what it misses:
// the real agent watches this machine while programs of the suite load it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/guanlan-io/guanlan/bench/suite"
)

const (
	subjectAgent   = "guanlan agent"
	subjectWithout = "without"
)

// run is one run.
type run struct {
	suite.Suite
	self string // this program, which plays what is watched
	sink *sink

	rounds int
	each   time.Duration // of a round of load
	rest   time.Duration // until an agent counts as idle
	storm  int           // opens a second
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == "play" {
		if err := play(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "kernel play:", err)
			os.Exit(1)
		}
		return
	}
	s := new(run)
	s.Suite = suite.Suite{Name: "kernel", Measures: true, Prepare: s.prepare, Parts: []suite.Part{
		{Name: "start", Run: s.start},
		{Name: "tcp", Run: s.tcp},
		{Name: "audit", Run: s.audit},
		{Name: "lost", Run: s.lost},
		{Name: "oom", Run: s.oom},
		{Name: "profile", Run: s.profile},
		{Name: "attach", Run: s.attach},
		{Name: "agent", Run: s.agent},
	}}
	flag.IntVar(&s.rounds, "rounds", 7, "rounds of load, of each kind")
	flag.DurationVar(&s.each, "each", 5*time.Second, "length of a round")
	flag.DurationVar(&s.rest, "rest", time.Minute, "time until an agent counts as idle")
	flag.IntVar(&s.storm, "storm", 50_000, "files of interest opened a second in part lost")
	s.Main()
}

func (s *run) prepare(context.Context) (err error) {
	if s.Short {
		s.rounds, s.each, s.rest = 2, 2*time.Second, 10*time.Second
	}
	if os.Geteuid() != 0 {
		return errors.New("run this as root: the agent loads BPF programs")
	}
	if s.self, err = os.Executable(); err != nil {
		return err
	}
	s.sink, err = listen()
	return err
}
