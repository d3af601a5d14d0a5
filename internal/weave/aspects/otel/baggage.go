//go:build guanlan_woven

package baggage

import (
	"context"

	ours "guanlan/otel/baggage"
)

// Baggage is kept in contexts where the woven SDK looks for it.

func guanlanWith(ctx context.Context, b Baggage) context.Context {
	same, _ := ours.Parse(b.String())
	return ours.ContextWithBaggage(ctx, same)
}

func guanlanFrom(ctx context.Context) Baggage {
	b := ours.FromContext(ctx)
	if b.Len() == 0 {
		return Baggage{}
	}
	same, _ := Parse(b.String())
	return same
}
