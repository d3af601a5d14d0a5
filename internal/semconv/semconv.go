// Package semconv has the names of attributes and metrics as constants, so
// that writers and readers of telemetry cannot disagree on a spelling. The
// names stand in attributes.yaml.
package semconv

//go:generate go run ./gen
