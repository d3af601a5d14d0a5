// Program burn says that it begins, and computes until its input ends.
package main

import (
	"io"
	"os"
)

// mix is inlined into burn. An emulated CPU is interrupted at branches only: it has one.
func mix(x uint64) uint64 {
	for range 4 {
		x ^= x >> 33
		x *= 0xff51afd7ed558ccd
		x ^= x >> 29
	}
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
	os.Stderr.WriteString("begun\n")
	for {
		sink += burn(1 << 20)
	}
}
