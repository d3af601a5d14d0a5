//go:build unix && !linux

package main

import "syscall"

// attached puts a child into a process group of its own. Only Linux can also
// tie its life to the demo's.
func attached() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}
