// Package exit flushes when a process is told to end by a signal, without taking
// part in how it ends. Why it is done as it is done: docs/adr/0013.
package exit
