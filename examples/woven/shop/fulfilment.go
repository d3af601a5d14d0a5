package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"

	"github.com/guanlan-io/guanlan/examples/woven/shop/orderpb"
)

const (
	packers       = 4
	queueLength   = 256 // a burst of orders; after that the order waits
	dispatchPause = 2 * time.Second
)

// fulfilment packs orders in a pool of workers fed by a channel, and every few
// seconds dispatches what is packed. The workers live as long as the service:
// nothing says for which request one works.
type fulfilment struct {
	orders *orders

	jobs    chan job
	packed  chan string // ids of orders
	packers sync.WaitGroup
	ended   sync.WaitGroup // dispatcher
}

// job is an order in the channel, a copy: the caller answers with its own.
type job struct {
	order       *orderpb.Order
	reservation string
}

// newFulfilment starts the workers; close ends them.
func newFulfilment(o *orders) *fulfilment {
	f := &fulfilment{orders: o, jobs: make(chan job, queueLength), packed: make(chan string, queueLength)}
	for range packers {
		f.packers.Go(func() {
			for j := range f.jobs {
				f.pack(j)
			}
		})
	}
	f.ended.Go(f.dispatcher)
	return f
}

// close ends the workers once all that was sent is packed and dispatched. No
// send may follow.
func (f *fulfilment) close() {
	close(f.jobs)
	f.packers.Wait()
	close(f.packed)
	f.ended.Wait()
}

// send queues order for packing and waits when the queue is full.
func (f *fulfilment) send(ctx context.Context, order *orderpb.Order, reservation string) error {
	select {
	case f.jobs <- job{proto.CloneOf(order), reservation}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *fulfilment) pack(j job) {
	log := f.orders.log.With(zap.String("order", j.order.Id))
	time.Sleep(20*time.Millisecond + rand.N(60*time.Millisecond)) // hands at work
	if err := f.orders.inventory.call("POST", "/reservations/"+j.reservation+"/ship", nil, nil); err != nil {
		log.Error("order not packed", zap.Error(err))
		return
	}
	j.order.State = "shipped"
	if err := f.orders.save(j.order); err != nil {
		log.Warn("order packed, but its state is not saved", zap.Error(err))
	}
	log.Info("order packed", zap.String("city", j.order.City))
	f.packed <- j.order.Id
}

func (f *fulfilment) dispatcher() {
	tick := time.NewTicker(dispatchPause)
	defer tick.Stop()
	var parcels []string
	for open := true; open; {
		select {
		case parcel, ok := <-f.packed:
			if ok {
				parcels = append(parcels, parcel)
				continue
			}
			open = false
		case <-tick.C:
		}
		if len(parcels) > 0 {
			f.orders.log.Info("van left (已发货)", zap.Int("parcels", len(parcels)))
			parcels = nil
		}
	}
}
