package sdk

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/guanlan-io/guanlan/sdk/core"
)

func TestMessaging(t *testing.T) {
	for _, sampled := range []float64{0, 1} {
		s, sink := start(t, Options{Sampler: core.NewByThreshold(sampled)})
		orders := Messaging{System: "kafka", Destination: "orders", Group: "billing", Server: "broker:9092", Client: "shop-1"}
		carry := func(err error) (sender, processor trace.SpanContext) {
			headers := propagation.MapCarrier{}
			op := orders.Send(t.Context(), MessageDetails{Size: 3})
			Propagator{}.Inject(op.Ctx(), headers)
			sender = trace.SpanContextFromContext(op.Ctx())
			op.Details.Partition, op.Details.Offset = "partition-2", 40
			op.End(err)
			work := orders.Process(Propagator{}.Extract(t.Context(), headers), MessageDetails{Partition: "partition-2", Offset: 40})
			processor = trace.SpanContextFromContext(work.Ctx())
			work.End(err)
			return sender, processor
		}
		var failed []trace.SpanContext
		for _, err := range []error{nil, fmt.Errorf("send: %w", context.DeadlineExceeded)} {
			sender, processor := carry(err)
			if sender.TraceID() != processor.TraceID() || sender.SpanID() == processor.SpanID() {
				t.Errorf("sampled %v: sent in %v, processed in %v", sampled, sender, processor)
			}
			if err != nil {
				failed = append(failed, sender, processor)
			}
		}
		orders.Received(3, 0, nil)
		orders.Received(0, 0, errors.New("no"))
		orders.Delivered(2)
		orders.Settle(t.Context(), "commit", MessageDetails{}).End(nil)

		got := sent(t, s, sink)
		for _, sc := range failed {
			if id := sc.SpanID(); !strings.Contains(got["/v1/traces"], string(id[:])) {
				t.Errorf("sampled %v: an operation that failed is not kept", sampled)
			}
		}
		for _, want := range []string{"send orders", "process orders", "messaging.destination.partition.id", "partition-2", "messaging.kafka.offset", "messaging.client.id", "shop-1", "timeout"} {
			if !strings.Contains(got["/v1/traces"], want) {
				t.Errorf("sampled %v: %q is in no span", sampled, want)
			}
		}
		if strings.Contains(got["/v1/traces"], "commit orders") != (sampled == 1) {
			t.Errorf("sampled %v: the commit is or is not there", sampled)
		}
		for _, want := range []string{"messaging.client.operation.duration", "messaging.process.duration", "messaging.client.sent.messages", "messaging.client.consumed.messages",
			"billing", "broker", "settle", "*errors.errorString"} {
			if !strings.Contains(got["/v1/metrics"], want) {
				t.Errorf("sampled %v: %q is in no metric", sampled, want)
			}
		}
		if strings.Contains(got["/v1/metrics"], "shop-1") || strings.Contains(got["/v1/metrics"], "partition-2") {
			t.Errorf("sampled %v: metrics say what only spans should", sampled)
		}
	}
}

// A batch has a link to each of those who have sent its messages.
func TestMessagingBatch(t *testing.T) {
	s, sink := start(t, Options{Sampler: core.NewByThreshold(1)})
	m := Messaging{System: "nats", Destination: "orders"}
	batch := m.Process(t.Context(), MessageDetails{Count: 2})
	var senders []trace.SpanContext
	for range 2 {
		headers := propagation.MapCarrier{}
		op := m.Send(t.Context(), MessageDetails{})
		Propagator{}.Inject(op.Ctx(), headers)
		senders = append(senders, trace.SpanContextFromContext(op.Ctx()))
		batch.Link(Propagator{}.Extract(t.Context(), headers))
		// and the operation itself is not sent
	}
	batch.Link(t.Context()) // one that came without headers
	batch.End(nil)
	got := sent(t, s, sink)["/v1/traces"]
	for _, sc := range senders {
		if id := sc.SpanID(); strings.Count(got, string(id[:])) != 1 {
			t.Errorf("no link to %v", sc)
		}
	}
	if !strings.Contains(got, "messaging.batch.message_count") {
		t.Error("nobody says how many they were")
	}
}

func TestMessagingWithoutSDK(t *testing.T) {
	running.Store(nil)
	m := Messaging{System: "kafka", Destination: "orders"}
	op := m.Send(t.Context(), MessageDetails{})
	if op.Ctx() != t.Context() {
		t.Error("without an SDK the context is another one")
	}
	op.Link(t.Context())
	op.End(errors.New("no"))
	m.Process(t.Context(), MessageDetails{}).EndAs("refused", nil)
	m.Received(1, 0, nil)
}
