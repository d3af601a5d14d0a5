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
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/examples/woven/shop/orderpb"
	"github.com/guanlan-io/guanlan/sdk"
	sdkzap "github.com/guanlan-io/guanlan/sdk/zap"
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

	jobs    chan sdk.Message[job]
	packers *sdk.Pool
	packed  chan sdk.Carrier
	fed     sync.WaitGroup // feeder
	ended   sync.WaitGroup // dispatcher

	ctx    context.Context // ends when what is left is given up
	giveUp context.CancelFunc
}

// job is an order in the channel, a copy: the caller answers with its own.
type job struct {
	order       *orderpb.Order
	reservation string
}

// newFulfilment starts the workers; close ends them.
func newFulfilment(o *orders) (*fulfilment, error) {
	f := &fulfilment{
		orders: o, tracer: otel.Tracer("order"),
		jobs: make(chan sdk.Message[job], queueLength), packed: make(chan sdk.Carrier, queueLength),
		packers: sdk.NewPool(sdk.PoolOptions{Name: "packers", Workers: packers, Queue: -1}),
	}
	f.ctx, f.giveUp = context.WithCancel(context.Background())
	if _, err := otel.Meter("order").Int64ObservableGauge("shop.fulfilment.queue.length", metric.WithUnit("{order}"), metric.WithDescription("Orders that wait for a packer."),
		metric.WithInt64Callback(func(_ context.Context, obs metric.Int64Observer) error {
			obs.Observe(int64(len(f.jobs)))
			return nil
		})); err != nil {
		return nil, err
	}
	f.fed.Go(f.feed)
	f.ended.Go(f.dispatcher)
	return f, nil
}

// close ends the workers once all that was sent is packed and dispatched, or
// ctx ends. No send may follow.
func (f *fulfilment) close(ctx context.Context) error {
	defer context.AfterFunc(ctx, f.giveUp)()
	close(f.jobs)
	f.fed.Wait()
	err := f.packers.Close(ctx)
	if err == nil { // else a packer may still be at it
		close(f.packed)
	}
	f.ended.Wait()
	return err
}

// messaging describes the channel as the messaging conventions describe a queue.
func messaging(operation string) trace.SpanStartEventOption {
	return trace.WithAttributes(
		attribute.String("messaging.system", "go_channel"),
		attribute.String("messaging.destination.name", "fulfilment"),
		attribute.String("messaging.operation.name", operation))
}

// send queues order for packing and waits when the queue is full.
func (f *fulfilment) send(ctx context.Context, order *orderpb.Order, reservation string) error {
	ctx, span := f.tracer.Start(ctx, "send fulfilment", trace.WithSpanKind(trace.SpanKindProducer), messaging("send"))
	defer span.End()
	select {
	case f.jobs <- sdk.NewMessage(ctx, job{proto.CloneOf(order), reservation}):
		return nil
	case <-ctx.Done():
		span.SetStatus(codes.Error, "queue full")
		return ctx.Err()
	}
}

// feed hands orders to the packers.
func (f *fulfilment) feed() {
	for m := range f.jobs {
		if err := f.packers.Submit(m.Context(f.ctx), "pack order", func(ctx context.Context) error {
			return f.pack(ctx, m.Value)
		}); err != nil {
			f.orders.log.Error("order not packed", sdkzap.Context(m.Context(f.ctx)), zap.Error(err), zap.String("order", m.Value.order.Id))
		}
	}
}

func (f *fulfilment) pack(ctx context.Context, j job) error {
	log := f.orders.log.With(sdkzap.Context(ctx), zap.String("order", j.order.Id))
	time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond)) // hands at work
	if err := f.orders.inventory.call(ctx, "POST", "/reservations/"+j.reservation+"/ship", nil, nil); err != nil {
		return err
	}
	j.order.State = "shipped"
	if err := f.orders.save(ctx, j.order); err != nil {
		log.Warn("order packed, but its state is not saved", zap.Error(err))
	}
	log.Info("order packed", zap.String("city", j.order.City))
	select {
	case f.packed <- sdk.Capture(ctx):
	case <-f.ctx.Done():
	}
	return nil
}

func (f *fulfilment) dispatcher() {
	tick := time.NewTicker(dispatchPause)
	defer tick.Stop()
	var parcels []sdk.Carrier
	for open := true; open; {
		select {
		case parcel, ok := <-f.packed:
			if ok {
				parcels = append(parcels, parcel)
				continue
			}
			open = false
		case <-f.ctx.Done():
			open = false
		case <-tick.C:
		}
		if len(parcels) > 0 {
			f.dispatch(parcels)
			parcels = nil
		}
	}
}

func (f *fulfilment) dispatch(parcels []sdk.Carrier) {
	_ = sdk.RunBatch(context.Background(), "dispatch parcels", parcels, func(ctx context.Context) error {
		f.orders.log.Info("van left (已发货)", sdkzap.Context(ctx), zap.Int("parcels", len(parcels)))
		return nil
	})
}
