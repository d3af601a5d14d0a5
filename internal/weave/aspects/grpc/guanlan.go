//go:build guanlan_woven

package grpc

import (
	"context"
	"reflect"
	"runtime"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// guanlanByHand reports whether an interceptor is that of the SDK's own package
// for gRPC: then the program has its say already.
func guanlanByHand(interceptor any) bool {
	v := reflect.ValueOf(interceptor)
	if v.IsNil() {
		return false
	}
	f := runtime.FuncForPC(v.Pointer())
	return f != nil && strings.HasPrefix(f.Name(), "github.com/guanlan-io/guanlan/sdk/grpc.")
}

func guanlanAnyByHand[F any](first F, others []F) bool {
	return guanlanByHand(first) || slices.ContainsFunc(others, func(f F) bool { return guanlanByHand(f) })
}

// guanlanFirst puts an interceptor before all others: the one to be called
// before those in a list, and the list.
func guanlanFirst[F any](ours F, first *F, others *[]F) {
	if !reflect.ValueOf(*first).IsNil() {
		*others = append([]F{*first}, *others...)
	}
	*first = ours
}

// guanlanOwnServer is how servers are instrumented.
var guanlanOwnServer = guanlanSdkgrpcServer{Trace: guanlanSdkgrpcDefaultTrace}

// guanlanServer instruments a server that is being made.
func guanlanServer(s *Server) {
	o := &s.opts
	if guanlanAnyByHand(o.unaryInt, o.chainUnaryInts) || guanlanAnyByHand(o.streamInt, o.chainStreamInts) {
		return
	}
	guanlanFirst[UnaryServerInterceptor](guanlanOwnServer.unary, &o.unaryInt, &o.chainUnaryInts)
	guanlanFirst[StreamServerInterceptor](guanlanOwnServer.stream, &o.streamInt, &o.chainStreamInts)
}

// guanlanClient instruments a connection that is being made.
func guanlanClient(cc *ClientConn) {
	o := &cc.dopts
	if guanlanAnyByHand(o.unaryInt, o.chainUnaryInts) || guanlanAnyByHand(o.streamInt, o.chainStreamInts) {
		return
	}
	ours := &guanlanSdkgrpc_client{trace: guanlanSdkgrpcDefaultTrace}
	guanlanFirst[UnaryClientInterceptor](ours.unary, &o.unaryInt, &o.chainUnaryInts)
	guanlanFirst[StreamClientInterceptor](ours.stream, &o.streamInt, &o.chainStreamInts)
}

// guanlanUnknown tells of a call of a method that the server does not have, which
// no interceptor sees.
func guanlanUnknown(ctx context.Context, method, description string) {
	err := status.Error(codes.Unimplemented, description)
	c := guanlanOwnServer.begin(ctx, method, false)
	guanlanOwnServer.end(&c, &err)
}
