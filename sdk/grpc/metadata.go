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

// read gives ctx what came with the call: the caller's span, and baggage for
// those who ask for it.
func read(ctx context.Context) context.Context {
	md, _ := ctx.Value(incomingKey).(metadata.MD)
	if len(md) == 0 {
		return ctx
	}
	return sdk.Propagator{}.ExtractValues(ctx, joined(md["traceparent"]), joined(md["tracestate"]), joined(md["baggage"]))
}

// joined is a header that may have come in several lines.
func joined(lines []string) string {
	switch len(lines) {
	case 0:
		return ""
	case 1:
		return lines[0]
	}
	all := lines[0]
	for _, line := range lines[1:] {
		all += "," + line
	}
	return all
}

// write gives ctx what goes with the call: the span of ctx and its baggage. What
// is in the outgoing metadata already is replaced, as when a proxy passes all of
// what it got.
func write(ctx context.Context) context.Context {
	parent, state, baggage := sdk.Propagator{}.InjectValues(ctx)
	var few [6]string
	pairs := few[:0]
	for _, p := range [...][2]string{{"traceparent", parent}, {"tracestate", state}, {"baggage", baggage}} {
		if p[1] != "" {
			pairs = append(pairs, p[0], p[1])
		}
	}
	if len(pairs) == 0 {
		return ctx
	}
	if ctx.Value(outgoingKey) == nil {
		return metadata.AppendToOutgoingContext(ctx, pairs...)
	}
	md, _ := metadata.FromOutgoingContext(ctx) // a copy
	if parent != "" {
		delete(md, "tracestate") // it belongs to the other parent
	}
	for i := 0; i < len(pairs); i += 2 {
		md[pairs[i]] = []string{pairs[i+1]}
	}
	return metadata.NewOutgoingContext(ctx, md)
}
