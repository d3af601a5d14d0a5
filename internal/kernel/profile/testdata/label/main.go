// Program label computes in two goroutines that say what they work for, until
// its input ends.
package main

import (
	"context"
	"io"
	"os"
	"runtime/pprof"
	"strings"
)

var sink [2]uint64

//go:noinline
func burn(i int) {
	x := sink[i]
	for n := 0; n < 1<<20; n++ {
		x ^= x >> 33
		x = x*0xff51afd7ed558ccd + uint64(n)
	}
	sink[i] = x
}

func work(i int, labels ...string) {
	pprof.Do(context.Background(), pprof.Labels(labels...), func(context.Context) {
		for {
			burn(i)
		}
	})
}

func main() {
	go work(0, "trace_id", "4bf92f3577b34da6a3ce929d0e0e4736", "route", "/cart", "long", strings.Repeat("x", 100))
	go work(1, "route", "/pay", "process", "liar")
	io.Copy(io.Discard, os.Stdin)
}
