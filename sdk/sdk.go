// Package sdk instruments a Go service: traces, metrics and logs by
// OpenTelemetry's conventions and over its protocol, at a fraction of the usual
// cost.
//
// The hot path is package core, which imports only the standard library. What
// is here puts the face of the OpenTelemetry API on it, so that instrumentation
// written by others runs on it unchanged.
package sdk
