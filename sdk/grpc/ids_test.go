package sdkgrpc

import (
	"context"
	"testing"

	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"

	"github.com/guanlan-io/guanlan/sdk"
)

// The ids go with calls, and a call that brings none has one made.
func TestIDs(t *testing.T) {
	start(t, 1)
	var request, biz string
	var md metadata.MD
	c, _, _ := pair(t, &service{unary: func(ctx context.Context) error {
		request, biz = sdk.RequestID(ctx), sdk.BizID(ctx)
		md, _ = metadata.FromIncomingContext(ctx)
		return nil
	}})
	call := func(ctx context.Context) {
		if _, err := c.UnaryCall(ctx, &testpb.SimpleRequest{}); err != nil {
			t.Error(err)
		}
	}
	ctx := sdk.WithBizID(sdk.WithRequestID(t.Context(), "r-1"), "b-1")
	if call(ctx); request != "r-1" || biz != "b-1" || len(md["x-request-id"]) != 1 {
		t.Errorf("request %q, business case %q, metadata %v", request, biz, md)
	}
	if call(metadata.AppendToOutgoingContext(ctx, "x-request-id", "the-callers-own")); request != "the-callers-own" || len(md["x-request-id"]) != 1 {
		t.Errorf("request %q, metadata %v", request, md)
	}
	if call(metadata.AppendToOutgoingContext(t.Context(), "x-request-id", "not well-formed")); len(request) != 32 || biz != "" {
		t.Errorf("request %q, business case %q", request, biz)
	}
}
