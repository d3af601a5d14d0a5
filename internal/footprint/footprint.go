// Package footprint tells what the process takes of its machine.
package footprint

import (
	"os"
	"strconv"
	"strings"
)

// Resident is the memory of the process that is not swapped out, pages of its
// binary included, in bytes. It is 0 where the system does not tell in the way
// of Linux' /proc/self/statm.
func Resident() uint64 {
	text, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	f := strings.Fields(string(text))
	if len(f) < 2 {
		return 0
	}
	pages, err := strconv.ParseUint(f[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * uint64(os.Getpagesize())
}
