package sdkgrpc

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/guanlan-io/guanlan/sdk"
)

// This file is the one place where metadata is read and written.

// The keys that gRPC keeps metadata under in a context. They are not exported,
// but can be seen when gRPC asks for them; reading what is there spares the copy
// of it all that gRPC's own functions make.
var (
	incomingKey = keyOf(func(ctx context.Context) { metadata.FromIncomingContext(ctx) })
	outgoingKey = keyOf(func(ctx context.Context) { metadata.FromOutgoingContext(ctx) })
)

func keyOf(ask func(context.Context)) any {
	p := &keyProbe{Context: context.Background()}
	ask(p)
	return p.key
}

type keyProbe struct {
	context.Context
	key any
}

// Value implements context.Context.
func (p *keyProbe) Value(key any) any { p.key = key; return nil }

// read gives ctx what came with the call: the caller's span, the ids, and baggage
// for those who ask for it.
func read(ctx context.Context) context.Context {
	md, _ := ctx.Value(incomingKey).(metadata.MD)
	if len(md) == 0 {
		return ctx
	}
	return sdk.Propagator{}.ExtractEntries(ctx, md)
}

// write gives ctx what goes with the call: the span of ctx, its baggage and its
// ids. Span and baggage that are in the outgoing metadata already are replaced,
// as when a proxy passes all of what it got; ids stay as the caller has set them.
func write(ctx context.Context) context.Context {
	var few [10]string
	pairs := sdk.Propagator{}.AppendEntries(few[:0], ctx)
	if len(pairs) == 0 {
		return ctx
	}
	if ctx.Value(outgoingKey) == nil {
		return metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if pairs[0] == "traceparent" {
		delete(md, "tracestate") // it belongs to the other parent
	}
	for i := 0; i < len(pairs); i += 2 {
		switch name := pairs[i]; name {
		case "traceparent", "tracestate", "baggage":
			md[name] = []string{pairs[i+1]}
		default:
			if len(md[name]) == 0 {
				md[name] = []string{pairs[i+1]}
			}
		}
	}
	return metadata.NewOutgoingContext(ctx, md)
}
