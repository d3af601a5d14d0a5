// Package start is what "guanlan build" puts into a program: it starts the SDK by
// the environment, as package auto does, and sends what was recorded last when main
// returns, when os.Exit is called, and on Linux at SIGTERM and SIGINT. What else
// package auto sets up, the woven standard library does by itself.
//
// A program that starts the SDK itself goes on with its own. Nothing is printed to
// the standard output, and to the standard error only why telemetry cannot be sent,
// once a minute at most. In a test binary it says nothing at all, adds nothing to
// answers, and does nothing unless the environment names a receiver.
package start
