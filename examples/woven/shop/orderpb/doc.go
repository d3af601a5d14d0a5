// Package orderpb is the gRPC contract of the order service, generated from
// order.proto.
package orderpb

//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative order.proto
