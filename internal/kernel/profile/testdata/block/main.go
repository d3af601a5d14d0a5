// Program block waits in a system call for each byte of its input.
package main

import "syscall"

//go:noinline
func await(b []byte) bool {
	n, err := syscall.Read(0, b)
	return n > 0 || err == syscall.EINTR
}

func main() {
	b := make([]byte, 1)
	for await(b) {
	}
}
