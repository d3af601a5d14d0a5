// Package semconv has the names of attributes, metrics and events as constants, so
// that writers and readers of telemetry cannot disagree on a spelling. The
// names stand in attributes.yaml.
package semconv

//go:generate go run ./gen

// TenantHeader names the tenant of a request, in HTTP headers, in gRPC
// metadata and in the client metadata that goes through the pipeline.
const TenantHeader = "X-Scope-OrgID"
