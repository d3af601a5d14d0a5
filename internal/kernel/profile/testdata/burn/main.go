// Program burn computes until its input ends.
package main

import (
	"io"
	"os"
)

// mix is inlined into burn.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 29
	return x
}

//go:noinline
func burn(n int) (x uint64) {
	x = uint64(n)
	for i := 0; i < n; i++ {
		x = mix(x + uint64(i))
	}
	return x
}

var sink uint64

func main() {
	go func() {
		io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		sink += burn(1 << 20)
	}
}
