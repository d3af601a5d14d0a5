package main

import "syscall"

// attached puts a child into a process group of its own and has the kernel
// kill it should the demo end without stopping it, even by kill -9.
func attached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
