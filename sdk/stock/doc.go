// Package stock puts OpenTelemetry's own SDK in the place of Guanlan's, to
// compare the two or to rule one out:
//
//	import _ "github.com/guanlan-io/guanlan/sdk/stock"
//
//	go build -tags guanlan_stock
//
// Without the tag the package is empty, so the import may stay. With it, spans,
// log records and the instruments of OpenTelemetry's API go through
// OpenTelemetry's SDK and exporters, at what they cost. The instrumentation is
// the same, and so is what a receiver gets, but for this: a span that was not
// sampled cannot be kept for its failure; durations that the instrumentation
// measures itself still come from Guanlan's; and a trace that begins with a
// request id of 32 hexadecimal digits has a random trace id.
//
// It sends by the protocol http/protobuf. With OTEL_EXPORTER_OTLP_PROTOCOL=grpc
// sdk.Start returns an error that says so, and Guanlan's SDK is used.
package stock
