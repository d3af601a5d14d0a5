//go:build !linux

package auto

import "github.com/guanlan-io/guanlan/sdk"

// flushAtSignals does nothing: only on Linux can be found out whether a program
// listens for a signal, and one that does must not get it twice.
func flushAtSignals(*sdk.SDK) {}
