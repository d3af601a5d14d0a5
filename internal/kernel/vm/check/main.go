//go:build linux

// Check says, in the guest, how each feature fares: a line for each of them, and
// one for each part that it has to do without. It is what `guanlan agent check`
// runs, without what takes minutes to build for another architecture.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/guanlan-io/guanlan/internal/kernel"
	"github.com/guanlan-io/guanlan/internal/kernel/attach"
	"github.com/guanlan-io/guanlan/internal/kernel/audit"
	"github.com/guanlan-io/guanlan/internal/kernel/oom"
	"github.com/guanlan-io/guanlan/internal/kernel/profile"
	"github.com/guanlan-io/guanlan/internal/kernel/tcp"
)

func main() {
	t, p := tcp.New(tcp.Options{}), profile.New(profile.Options{OffCPU: true})
	r := kernel.Start(context.Background(), kernel.NewHost(kernel.Options{}), t, oom.New(oom.Options{}), audit.New(audit.Options{}), p,
		attach.New(attach.Options{Targets: []attach.Target{{PID: os.Getpid()}}}))
	for _, s := range r.Status() {
		say(s.Name, s.Err)
	}
	for _, err := range t.Refused() {
		say("part of tcp", err)
	}
	if err := p.Refused(); err != nil {
		say("part of profile", err)
	}
	if err := r.Close(); err != nil {
		fmt.Println("close:", err)
		os.Exit(1)
	}
}

func say(name string, err error) {
	u := (*kernel.Unsupported)(nil)
	switch {
	case err == nil:
		fmt.Println(name + ": works")
	case errors.As(err, &u):
		if more, ok := err.(interface{ Unwrap() []error }); ok {
			for _, e := range more.Unwrap() {
				say(name, e)
			}
			return
		}
		fmt.Printf("%s: %s misses %s; %s\n", name, u.Feature, u.Missing, u.Next)
	default:
		fmt.Println(name+": failed:", err)
	}
}
