package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/baggage"
)

// labels are the baggage members that describe the business side of a request:
// the SDK has them on every span and log record. Few values each: they become
// metric attributes too.
var labels = []string{"tenant", "channel"}

// Label returns ctx with the tenant and the sales channel of a request in its
// baggage, which travels to every service that takes part. Empty values are
// left out.
func Label(ctx context.Context, tenant, channel string) context.Context {
	bag := baggage.FromContext(ctx)
	for i, value := range []string{tenant, channel} {
		if value == "" {
			continue
		}
		member, err := baggage.NewMemberRaw(labels[i], value)
		if err != nil {
			continue // not UTF-8: not worth failing a request for
		}
		if b, err := bag.SetMember(member); err == nil {
			bag = b
		}
	}
	return baggage.ContextWithBaggage(ctx, bag)
}

// Labels returns what Label put into the baggage, here or in a service
// upstream, as attributes.
func Labels(ctx context.Context) []attribute.KeyValue {
	bag := baggage.FromContext(ctx)
	var attrs []attribute.KeyValue
	for _, key := range labels {
		if value := bag.Member(key).Value(); value != "" {
			attrs = append(attrs, attribute.String(key, value))
		}
	}
	return attrs
}
