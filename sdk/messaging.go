package sdk

import (
	"context"
	"errors"
	"time"

	"github.com/guanlan-io/guanlan/sdk/core"
	"github.com/guanlan-io/guanlan/sdk/internal/message"
)

// Messaging instruments clients of brokers of messages that have no
// instrumentation of their own: a span for each message or batch that is sent and
// for each that is processed, the histograms messaging.client.operation.duration
// and messaging.process.duration, and how many messages went either way. It
// follows OpenTelemetry's semantic conventions for messaging.
//
// Whoever sends puts Propagator.AppendEntries of the operation's context into the
// headers; whoever processes gives Process a context that Propagator.Extract has
// made of them:
//
//	op := m.Send(ctx, sdk.MessageDetails{})
//	sdk.Propagator{}.Inject(op.Ctx(), headers)
//	op.End(send(op.Ctx(), headers, body))
//
// It is a value: make one for each destination, or each message. All operations
// belong to the SDK that runs when they start.
type Messaging struct {
	System      string // messaging.system, for example "kafka", "rabbitmq", "nats"
	Destination string // topic or queue; one of few, not one that is made for a reply
	Group       string // of consumers; or empty
	Server      string // address of the broker, as host:port; or empty
	Client      string // id of the client, on spans only; or empty
}

// MessageDetails are what is told of messages on spans. All of it may be missing.
type MessageDetails struct {
	ID        string
	Key       string // of Kafka; it may be somebody's number, and is told if it is given
	Partition string
	Offset    int64 // in Partition; told where that is
	Size      int   // of the body in bytes
	Count     int   // of messages, where the operation is about a batch
}

// MessageOperation is an operation on messages under way. It is for one goroutine
// at a time. End it, whatever happens.
type MessageOperation struct {
	Details MessageDetails // may be completed until the end

	op        Operation[messageKey]
	key       messageKey
	messages  *perSDK[*boundSeries[messageKey]] // that are counted at the end; or nil
	client    string
	described bool
}

// messageKey is what the series of an operation depends on.
type messageKey struct {
	system, operation, form, destination, group, server, failure string
}

// Names and types of operations. Kafka's and most others' are these.
const (
	messageSend    = "send"
	messageReceive = "receive"
	messagePoll    = "poll"
	messageProcess = "process"
	messageSettle  = "settle"
)

const messageOperationDuration = "messaging.client.operation.duration"

func newMessageOperations(kind core.SpanKind, metric, description string) *Operations[messageKey] {
	return NewOperations(OperationOptions[messageKey]{Scope: scopeOfSDK, Kind: kind, Metric: metric, Description: description, Attrs: messageKey.attrs})
}

var (
	messageSends     = newMessageOperations(core.KindProducer, messageOperationDuration, "Duration of messaging operations initiated by a producer or consumer client.")
	messageCalls     = newMessageOperations(core.KindClient, messageOperationDuration, "Duration of messaging operations initiated by a producer or consumer client.")
	messageProcesses = newMessageOperations(core.KindConsumer, "messaging.process.duration", "Duration of processing operations.")

	messagesSent     = newMessageCounter("messaging.client.sent.messages", "Number of messages that producers attempted to send to the broker.")
	messagesConsumed = newMessageCounter("messaging.client.consumed.messages", "Number of messages that were delivered to the application.")
)

func newMessageCounter(name, description string) *perSDK[*boundSeries[messageKey]] {
	return &perSDK[*boundSeries[messageKey]]{make: func(s *SDK) *boundSeries[messageKey] {
		i := s.meter(scopeOfSDK, Version).Instrument(core.InstrumentOptions{Name: name, Description: description, Unit: "{message}", Form: core.Counter, Integer: true})
		return &boundSeries[messageKey]{instrument: i, attrs: messageKey.attrs, series: map[messageKey]*foundSeries[messageKey]{}}
	}}
}

func (k messageKey) attrs() []core.Attr {
	attrs := append(make([]core.Attr, 0, 8), core.String("messaging.system", k.system), core.String("messaging.operation.name", k.operation))
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, core.String(key, value))
		}
	}
	add("messaging.operation.type", k.form)
	add("messaging.destination.name", k.destination)
	add("messaging.consumer.group.name", k.group)
	if k.server != "" {
		host, port := hostPort(k.server)
		attrs = append(attrs, core.String("server.address", host))
		if port != 0 {
			attrs = append(attrs, core.Int("server.port", port))
		}
	}
	add("error.type", k.failure)
	return attrs
}

func (m *Messaging) key(operation, form string) messageKey {
	return messageKey{system: m.System, operation: operation, form: form, destination: m.Destination, group: m.Group, server: m.Server}
}

// Send begins to send a message, or a batch of them.
func (m Messaging) Send(ctx context.Context, d MessageDetails) *MessageOperation {
	m.Group = ""
	return m.start(messageSends, messagesSent, ctx, m.key(messageSend, messageSend), d)
}

// Process begins to process a message, or a batch of them: for a message, ctx is
// what Propagator.Extract made of its headers, and the span a child of who sent
// it; for a batch, see Link.
func (m Messaging) Process(ctx context.Context, d MessageDetails) *MessageOperation {
	return m.start(messageProcesses, nil, ctx, m.key(messageProcess, messageProcess), d)
}

// Settle begins to tell the broker what became of messages. name is what the
// broker calls that: commit, ack, nack.
func (m Messaging) Settle(ctx context.Context, name string, d MessageDetails) *MessageOperation {
	return m.start(messageCalls, nil, ctx, m.key(name, messageSettle), d)
}

// Received counts a request to the broker that has brought n messages, or failed.
// It has no span: most of its time it waits.
func (m Messaging) Received(n int, took time.Duration, err error) {
	key := m.key(messagePoll, messageReceive)
	key.failure = messageFailure(err)
	messageCalls.Count(key, took)
	m.delivered(key, n)
}

// Delivered counts messages that the broker has sent without being asked for each.
func (m Messaging) Delivered(n int) { m.delivered(m.key(messageReceive, messageReceive), n) }

func (m *Messaging) delivered(key messageKey, n int) {
	if n == 0 {
		return
	}
	if counts, ok := messagesConsumed.of(); ok {
		counts.of(&key).Add(int64(n))
	}
}

func (m *Messaging) start(ops *Operations[messageKey], counts *perSDK[*boundSeries[messageKey]], ctx context.Context, key messageKey, d MessageDetails) *MessageOperation {
	op := &MessageOperation{Details: d, key: key, messages: counts, client: m.Client}
	name := key.operation
	if key.destination != "" {
		name += " " + key.destination
	}
	ops.StartIn(&op.op, ctx, name)
	if op.op.Recording() {
		op.describe()
	}
	return op
}

// describe sets what is known at the start.
func (op *MessageOperation) describe() {
	op.described = true
	attrs, d := op.key.attrs(), &op.Details
	if op.client != "" {
		attrs = append(attrs, core.String("messaging.client.id", op.client))
	}
	if d.ID != "" {
		attrs = append(attrs, core.String("messaging.message.id", d.ID))
	}
	if d.Key != "" && op.key.system == "kafka" {
		attrs = append(attrs, core.String("messaging.kafka.message.key", d.Key))
	}
	if d.Size > 0 {
		attrs = append(attrs, core.Int("messaging.message.body.size", int64(d.Size)))
	}
	if d.Count > 0 {
		attrs = append(attrs, core.Int("messaging.batch.message_count", int64(d.Count)))
	}
	op.op.Span().SetAttrs(attrs...)
}

// Ctx is the context to send or to process in: it holds the span.
func (op *MessageOperation) Ctx() context.Context { return op.op.Ctx() }

// Span is where more attributes and events go.
func (op *MessageOperation) Span() *Span { return op.op.Span() }

// Link adds a link to who sent a message of a batch, as Propagator.Extract has
// made it a context.
func (op *MessageOperation) Link(from context.Context) {
	if sc, ok := contextIn(from); ok {
		op.op.Span().AddLink(&sc)
	}
}

// End ends the operation. err is nil when all went well.
func (op *MessageOperation) End(err error) { op.EndAs(messageFailure(err), err) }

// EndAs is End where the caller knows better what error.type is: one of few
// values, empty when all went well.
func (op *MessageOperation) EndAs(failure string, err error) {
	op.key.failure = failure
	if op.op.Finish(failure) {
		if !op.described {
			op.describe()
		}
		if d := &op.Details; d.Partition != "" {
			op.Span().SetAttr(core.String("messaging.destination.partition.id", d.Partition))
			if op.key.system == "kafka" {
				op.Span().SetAttr(core.Int("messaging.kafka.offset", d.Offset))
			}
		}
		if failure != "" && err != nil {
			op.Span().SetStatus(core.StatusError, message.Plain(errorText(err)))
		}
	}
	op.op.End(op.key)
	if op.messages != nil {
		if counts, ok := op.messages.of(); ok {
			counts.of(&op.key).Add(int64(max(op.Details.Count, 1)))
		}
	}
}

// messageFailure is the class of an error.
func messageFailure(err error) string {
	switch {
	case err == nil:
		return ""
	case errors.Is(err, context.Canceled):
		return "canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	}
	return askError(err, func() string {
		var typed interface{ ErrorType() string }
		if errors.As(err, &typed) {
			return typed.ErrorType()
		}
		return failureOf(err)
	}, typeName)
}
