// A program that opens a file for writing, to be built for 32 bits.
package main

import (
	"os"
	"syscall"
)

func main() {
	fd, _ := syscall.Open(os.Args[1], syscall.O_WRONLY|syscall.O_CREAT, 0o600)
	_ = syscall.Close(fd)
}
