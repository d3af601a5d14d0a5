package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"

	"github.com/guanlan-io/guanlan/examples/shop/internal/orderpb"
	"github.com/guanlan-io/guanlan/examples/shop/internal/telemetry"
)

const (
	packers       = 4
	queueLength   = 256 // a burst of orders; after that the order waits
	dispatchPause = 2 * time.Second
)

// fulfilment packs orders in a pool of workers fed by a channel, and every few
// seconds dispatches what is packed. Packing belongs to one order and is part
// of its trace. Dispatching belongs to many: it is a trace of its own that
// links to each.
type fulfilment struct {
	orders *orders
	tracer trace.Tracer
	wait   metric.Float64Histogram

	jobs   chan job
	packed chan trace.Link
	ended  sync.WaitGroup // packers, then dispatcher
}

// job is an order in the channel. Its context carries trace and baggage over;
// it does not end with the request.
type job struct {
	ctx         context.Context
	order       *orderpb.Order
	reservation string
	queued      time.Time
}

// newFulfilment starts the workers; close ends them.
func newFulfilment(o *orders) (*fulfilment, error) {
	f := &fulfilment{orders: o, tracer: otel.Tracer("order"), jobs: make(chan job, queueLength), packed: make(chan trace.Link, queueLength)}
	meter := otel.Meter("order")
	var err error
	if f.wait, err = meter.Float64Histogram("shop.fulfilment.wait", metric.WithUnit("s"), metric.WithDescription("Time an order waits for a packer.")); err != nil {
		return nil, err
	}
	if _, err = meter.Int64ObservableGauge("shop.fulfilment.queue.length", metric.WithUnit("{order}"), metric.WithDescription("Orders that wait for a packer."),
		metric.WithInt64Callback(func(_ context.Context, obs metric.Int64Observer) error {
			obs.Observe(int64(len(f.jobs)))
			return nil
		})); err != nil {
		return nil, err
	}

	var packing sync.WaitGroup
	for range packers {
		packing.Go(func() {
			for j := range f.jobs {
				f.pack(j)
			}
		})
	}
	f.ended.Go(func() {
		packing.Wait()
		close(f.packed)
	})
	f.ended.Go(f.dispatcher)
	return f, nil
}

// close ends the workers once all that was sent is packed and dispatched. No
// send may follow.
func (f *fulfilment) close() {
	close(f.jobs)
	f.ended.Wait()
}

// messaging describes a channel as the messaging conventions describe a queue.
func messaging(operation string) trace.SpanStartEventOption {
	return trace.WithAttributes(
		semconv.MessagingSystemKey.String("go_channel"),
		semconv.MessagingDestinationName("fulfilment"),
		semconv.MessagingOperationName(operation))
}

// send queues order for packing and waits when the queue is full.
func (f *fulfilment) send(ctx context.Context, order *orderpb.Order, reservation string) error {
	ctx, span := f.tracer.Start(ctx, "send fulfilment", trace.WithSpanKind(trace.SpanKindProducer), messaging("send"))
	defer span.End()
	select {
	case f.jobs <- job{context.WithoutCancel(ctx), order, reservation, time.Now()}:
		return nil
	case <-ctx.Done():
		span.SetStatus(codes.Error, "queue full")
		return ctx.Err()
	}
}

func (f *fulfilment) pack(j job) {
	ctx, span := f.tracer.Start(j.ctx, "process fulfilment", trace.WithSpanKind(trace.SpanKindConsumer), messaging("process"))
	defer span.End()
	f.wait.Record(ctx, time.Since(j.queued).Seconds())
	log := f.orders.log.With(telemetry.Ctx(ctx), zap.String("order", j.order.Id))

	time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond)) // hands at work
	if err := f.orders.inventory.call(ctx, "POST", "/reservations/"+j.reservation+"/ship", nil, nil); err != nil {
		span.SetStatus(codes.Error, "goods not taken from the shelf")
		log.Error("order not packed", zap.Error(err))
		return
	}
	j.order.State = "shipped"
	if err := f.orders.save(ctx, j.order); err != nil {
		log.Warn("order packed, but its state is not saved", zap.Error(err))
	}
	log.Info("order packed", zap.String("city", j.order.City))
	f.packed <- trace.Link{
		SpanContext: span.SpanContext(),
		Attributes:  []attribute.KeyValue{attribute.String("shop.order.id", j.order.Id)},
	}
}

func (f *fulfilment) dispatcher() {
	tick := time.NewTicker(dispatchPause)
	defer tick.Stop()
	var parcels []trace.Link
	for open := true; open; {
		select {
		case link, ok := <-f.packed:
			if ok {
				parcels = append(parcels, link)
				continue
			}
			open = false
		case <-tick.C:
		}
		if len(parcels) > 0 {
			f.dispatch(parcels)
			parcels = nil
		}
	}
}

func (f *fulfilment) dispatch(parcels []trace.Link) {
	ctx, span := f.tracer.Start(context.Background(), "dispatch parcels",
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithLinks(parcels...),
		trace.WithAttributes(semconv.MessagingBatchMessageCount(len(parcels))))
	defer span.End()
	f.orders.log.Info("van left (已发货)", telemetry.Ctx(ctx), zap.Int("parcels", len(parcels)))
}
