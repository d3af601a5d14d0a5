// Package quiet keeps libraries from writing to the terminal while they are
// initialised: one of ours reports through the standard logger, before main,
// that the kernel has no pressure figures, and it would do so in front of the
// output of every command.
//
// It works by being initialised first: it imports nothing but the logger
// itself. That is the one init of this module.
package quiet

import (
	"io"
	"log"
)

var before = log.Writer()

func init() { log.SetOutput(io.Discard) }

// End gives the standard logger its output back; main calls it first.
func End() { log.SetOutput(before) }
