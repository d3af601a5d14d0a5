// Package apiv3 is the generated form of Jaeger's query service, version 3.
package apiv3

//go:generate env GOWORK=off go run -C gen . ../query_service.proto
