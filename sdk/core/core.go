// Package core is the part of the SDK that runs inside of every request: ids
// and their propagation, sampling, span records, the OTLP encoding, the bounded
// pipe to the receiver. It imports only the standard library, so that it can be
// compiled into any program.
//
// The strategy is to do nothing twice. A span is encoded while it is being
// recorded, into a buffer from a pool; when it ends it is copied once, into a
// batch that already is the request. There is no queue of span objects, no
// snapshot and no tree of messages.
package core
