//go:build !linux

package exit

// AtSignals does nothing: only on Linux can be found out whether a program
// listens for a signal, and one that does must not get it twice.
func AtSignals(func()) {}
