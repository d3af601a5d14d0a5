// Command weave measures what guanlan build costs: the build of the plain shop
// against go build of the same sources, and the woven services against the same
// shop with the SDK by hand and without anything.
package main

import (
	"context"
	"flag"
	"time"

	"github.com/guanlan-io/guanlan/bench/suite"
)

// What is compared.
const (
	subjectPlain = "go build"
	subjectWoven = "guanlan build"
	subjectSDK   = "guanlan sdk by hand"
	subjectPeer  = "orchestrion " + peerVersion
)

// run is one run. What it makes takes 6 GB.
type run struct {
	suite.Suite

	colds, edits, rounds int
	each                 time.Duration // of a round of requests
	heavy                time.Duration // of the load that must lose nothing

	plain, woven variant // how they are built
	programs     map[string]string
}

func main() {
	s := &run{programs: map[string]string{}}
	s.Suite = suite.Suite{
		Name: "weave", Measures: true,
		Prepare: func(context.Context) error {
			if s.Short {
				s.colds, s.edits, s.rounds, s.each, s.heavy = 1, 3, 2, 2*time.Second, 5*time.Second
			}
			// Without the part that measures them, builds need no empty caches.
			return s.prepare(s.Asked("build"))
		},
		Parts: []suite.Part{ // in this order: build leaves caches that the others build with
			{Name: "build", Run: s.build},
			{Name: "peer", Run: s.peer},
			{Name: "binary", Run: s.binary},
			{Name: "request", Run: s.request},
			{Name: "lost", Run: s.lost},
		},
	}
	flag.IntVar(&s.colds, "colds", 3, "builds with empty caches, of each")
	flag.IntVar(&s.edits, "edits", 11, "builds after the edit of a line, and without one, of each")
	flag.IntVar(&s.rounds, "rounds", 9, "rounds of requests, of each")
	flag.DurationVar(&s.each, "each", 5*time.Second, "length of a round of requests")
	flag.DurationVar(&s.heavy, "heavy", 30*time.Second, "length of the load that must lose nothing")
	s.Main()
}
