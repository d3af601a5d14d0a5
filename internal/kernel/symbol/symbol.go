// Package symbol turns code addresses of other processes and of the kernel
// into functions, files and lines. It reads what a binary carries at run
// time: Go's own function table, which stripping leaves in place, and the
// symbol tables of ELF.
//
// Nothing is loaded whole. A Go table is searched where it lies in the file,
// through a small cache of pages shared by all binaries, so that a program
// with 50 MB of tables costs no more than one with 500 KB. Files are opened
// when a process is first seen and stay open while it is known: a program
// that has exited, or whose file was replaced, can still be named.
package symbol

import "errors"

// Frame is one function at one address. A call that the compiler inlined has
// a frame of its own.
type Frame struct {
	Function string
	File     string // empty where only symbols of ELF are known
	Line     int
	// StartLine is the line of the func keyword; 0 where the binary does not
	// say (before Go 1.20).
	StartLine int
	// Inlined says that this function has no code of its own here: the next
	// frame holds it.
	Inlined bool
}

var (
	// ErrNoTable says that a file holds no table of Go functions.
	ErrNoTable = errors.New("no table of Go functions")
	// ErrCorrupt says that a table contradicts itself or leaves its bounds.
	ErrCorrupt = errors.New("corrupt table of functions")
	// ErrFull says that as many binaries as may be open are in use.
	ErrFull = errors.New("too many binaries in use")
)
