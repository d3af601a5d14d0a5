package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/examples/shop/internal/telemetry"
	"github.com/guanlan-io/guanlan/examples/woven/shop/orderpb"
	"github.com/guanlan-io/guanlan/sdk"
	sdkgrpc "github.com/guanlan-io/guanlan/sdk/grpc"
	sdkzap "github.com/guanlan-io/guanlan/sdk/zap"
)

const orderTTL = 10 * time.Minute

// orders takes orders: reserve, charge, remember, hand to fulfilment.
type orders struct {
	orderpb.UnimplementedOrdersServer

	inventory, payment *client
	timeout            time.Duration // for payment
	cache              *redis.Client
	fulfilment         *fulfilment
	log                *zap.Logger

	placed metric.Int64Counter
	amount metric.Int64Histogram
}

func runOrder(ctx context.Context, c config) error {
	telemetry.Start(ctx, "order", version)
	log := sdkzap.New()
	cache := openCache(c.cache)
	o := &orders{inventory: newClient(c.inventory), payment: newClient(c.payment), timeout: c.timeout, cache: cache, log: log}
	meter := otel.Meter("order")
	var err error
	if o.placed, err = meter.Int64Counter("shop.orders", metric.WithUnit("{order}"), metric.WithDescription("Orders by outcome.")); err != nil {
		return err
	}
	if o.amount, err = meter.Int64Histogram("shop.order.amount", metric.WithUnit("{cent}"), metric.WithDescription("Amount of paid orders."),
		metric.WithExplicitBucketBoundaries(1000, 2500, 5000, 10000, 25000, 50000, 100000)); err != nil {
		return err
	}
	if o.fulfilment, err = newFulfilment(o); err != nil {
		return err
	}

	server := grpc.NewServer(sdkgrpc.ServerOptions()...)
	orderpb.RegisterOrdersServer(server, o)
	return sdk.Run(ctx, sdk.GRPC(c.order, server), sdk.Drain(drainTimeout),
		sdk.OnExit("cache", func(context.Context) error { return cache.Close() }),
		// No more orders come in: those that did are packed.
		sdk.OnExit("fulfilment", o.fulfilment.close))
}

// Place implements orderpb.OrdersServer.
func (o *orders) Place(ctx context.Context, req *orderpb.PlaceRequest) (*orderpb.Order, error) {
	order := &orderpb.Order{Id: "ord-" + rand.Text()[:10], Sku: req.Sku, Quantity: req.Quantity, City: req.City, State: "paid"}
	trace.SpanFromContext(ctx).SetAttributes(
		attribute.String("shop.order.id", order.Id),
		attribute.String("shop.product.sku", order.Sku),
		attribute.String("shop.city", order.City))
	err := o.place(ctx, order, req.CardToken)

	outcome := attribute.String("outcome", status.Code(err).String())
	o.placed.Add(ctx, 1, metric.WithAttributes(append(telemetry.Labels(ctx), outcome)...))
	if err != nil {
		return nil, err
	}
	o.amount.Record(ctx, order.Amount, metric.WithAttributes(telemetry.Labels(ctx)...))
	return order, nil
}

func (o *orders) place(ctx context.Context, order *orderpb.Order, card string) error {
	if order.Quantity < 1 {
		return status.Error(codes.InvalidArgument, "quantity must be at least 1")
	}
	log := o.log.With(sdkzap.Context(ctx), zap.String("order", order.Id))

	res := reservation{SKU: order.Sku, Quantity: order.Quantity}
	if err := o.inventory.call(ctx, "POST", "/reservations", res, &res); err != nil {
		return rpcError("reserve goods", err)
	}
	order.Amount = res.Amount

	if err := o.charge(ctx, charge{Order: order.Id, Card: card, Amount: order.Amount}); err != nil {
		log.Error("payment failed, releasing the goods", zap.Error(err), zap.String("reservation", res.ID), zap.Int64("amount", order.Amount))
		if err := o.inventory.call(ctx, "DELETE", "/reservations/"+res.ID, nil, nil); err != nil {
			log.Error("goods not released", zap.Error(err), zap.String("reservation", res.ID))
		}
		return err
	}

	if err := o.save(ctx, order); err != nil {
		return rpcError("save order", err)
	}
	if err := o.fulfilment.send(ctx, order, res.ID); err != nil {
		return rpcError("queue for fulfilment", err)
	}
	log.Info("order placed", zap.String("city", order.City), zap.Int64("amount", order.Amount))
	return nil
}

func (o *orders) charge(ctx context.Context, c charge) error {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	err := o.payment.call(ctx, "POST", "/charges", c, nil)
	if errors.Is(err, context.DeadlineExceeded) {
		return status.Errorf(codes.DeadlineExceeded, "payment provider did not answer within %s (支付超时)", o.timeout)
	}
	return rpcError("charge card", err)
}

// Get implements orderpb.OrdersServer.
func (o *orders) Get(ctx context.Context, req *orderpb.GetRequest) (*orderpb.Order, error) {
	text, err := o.cache.Get(ctx, "order:"+req.Id).Bytes()
	if errors.Is(err, redis.Nil) {
		return nil, status.Errorf(codes.NotFound, "no order %q", req.Id)
	} else if err != nil {
		return nil, rpcError("look up order", err)
	}
	order := new(orderpb.Order)
	if err := json.Unmarshal(text, order); err != nil {
		return nil, status.Errorf(codes.DataLoss, "decode order %q: %v", req.Id, err)
	}
	return order, nil
}

func (o *orders) save(ctx context.Context, order *orderpb.Order) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	return o.cache.Set(ctx, "order:"+order.Id, text, orderTTL).Err()
}

// rpcError turns an answer of another service into the gRPC status for it.
func rpcError(doing string, err error) error {
	if err == nil {
		return nil
	}
	var answer *statusError
	if !errors.As(err, &answer) {
		return status.Error(codes.Unavailable, fmt.Sprintf("%s: %v", doing, err))
	}
	code := codes.Internal
	switch answer.Status {
	case http.StatusBadRequest:
		code = codes.InvalidArgument
	case http.StatusPaymentRequired:
		code = codes.PermissionDenied
	case http.StatusNotFound:
		code = codes.NotFound
	case http.StatusConflict:
		code = codes.FailedPrecondition
	}
	return status.Error(code, answer.Message)
}
