package sdk

import (
	"context"

	"go.opentelemetry.io/otel/baggage"

	"github.com/guanlan-io/guanlan/sdk/core"
)

// appendMembers appends the members of the context's baggage that have one of
// these names as attributes: what is known of a request at the front door is
// then on the spans and log records of all services behind it.
func appendMembers(ctx context.Context, dst []core.Attr, names []string) []core.Attr {
	if len(names) == 0 {
		return dst
	}
	b := baggage.FromContext(ours(ctx, baggageKey))
	if b.Len() == 0 {
		return dst
	}
	for _, name := range names {
		if v := b.Member(name).Value(); v != "" {
			dst = append(dst, core.String(name, v))
		}
	}
	return dst
}

// setMembers is appendMembers for a span that is recorded.
func setMembers[S interface {
	Recording() bool
	SetAttrs(...core.Attr)
}](ctx context.Context, sp S, names []string) {
	if len(names) == 0 || !sp.Recording() {
		return
	}
	var few [8]core.Attr
	sp.SetAttrs(appendMembers(ctx, few[:0], names)...)
}
