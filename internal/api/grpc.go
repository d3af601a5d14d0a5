package api

import (
	"context"
	"crypto/rand"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NewGRPC returns a gRPC server for Doors.GRPC. Its handlers run in goroutines
// of their own, where Server cannot recover from a panic; this one does, and
// answers with an id that the log has too.
func NewGRPC(log *slog.Logger) *grpc.Server {
	if log == nil {
		log = slog.Default()
	}
	rescue := func(ctx context.Context, method string, err *error) {
		p := recover()
		if p == nil {
			return
		}
		id := rand.Text()
		log.ErrorContext(ctx, "recover from a panic", "id", id, "method", method, "panic", p, "stack", string(debug.Stack()))
		*err = status.Errorf(codes.Internal, "internal error; the log has it under id %s", id)
	}
	return grpc.NewServer(
		grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (res any, err error) {
			defer rescue(ctx, info.FullMethod, &err)
			return next(ctx, req)
		}),
		grpc.StreamInterceptor(func(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
			defer rescue(stream.Context(), info.FullMethod, &err)
			return next(srv, stream)
		}),
	)
}
