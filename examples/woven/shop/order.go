package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/examples/woven/shop/orderpb"
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
}

func runOrder(ctx context.Context, c config) error {
	o := &orders{
		inventory: newClient(c.inventory), payment: newClient(c.payment), timeout: c.timeout, cache: openCache(c.cache),
		log: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig()), zapcore.Lock(os.Stdout), zap.InfoLevel)),
	}
	defer o.cache.Close()
	o.payment.http.Timeout = c.timeout
	o.fulfilment = newFulfilment(o)

	l, err := net.Listen("tcp", c.order)
	if err != nil {
		return err
	}
	slog.Info("listening", "address", l.Addr().String())
	server := grpc.NewServer()
	orderpb.RegisterOrdersServer(server, o)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	defer time.AfterFunc(drainTimeout, server.Stop).Stop()
	server.GracefulStop()
	// No more orders come in: those that did are packed.
	o.fulfilment.close()
	return nil
}

// openCache connects to the cache.
func openCache(addr string) *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     addr,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// Place implements orderpb.OrdersServer.
func (o *orders) Place(ctx context.Context, req *orderpb.PlaceRequest) (*orderpb.Order, error) {
	order := &orderpb.Order{Id: "ord-" + rand.Text()[:10], Sku: req.Sku, Quantity: req.Quantity, City: req.City, State: "paid"}
	if order.Quantity < 1 {
		return nil, status.Error(codes.InvalidArgument, "quantity must be at least 1")
	}
	log := o.log.With(zap.String("order", order.Id))

	res := reservation{SKU: order.Sku, Quantity: order.Quantity}
	if err := o.inventory.call("POST", "/reservations", res, &res); err != nil {
		return nil, rpcError("reserve goods", err)
	}
	order.Amount = res.Amount

	if err := o.charge(charge{Order: order.Id, Card: req.CardToken, Amount: order.Amount}); err != nil {
		log.Error("payment failed, releasing the goods", zap.Error(err), zap.String("reservation", res.ID), zap.Int64("amount", order.Amount))
		if err := o.inventory.call("DELETE", "/reservations/"+res.ID, nil, nil); err != nil {
			log.Error("goods not released", zap.Error(err), zap.String("reservation", res.ID))
		}
		return nil, err
	}

	if err := o.save(order); err != nil {
		return nil, rpcError("save order", err)
	}
	if err := o.fulfilment.send(ctx, order, res.ID); err != nil {
		return nil, rpcError("queue for fulfilment", err)
	}
	log.Info("order placed", zap.String("city", order.City), zap.Int64("amount", order.Amount))
	return order, nil
}

// charge is a request to the payment provider.
type charge struct {
	Order  string `json:"order"`
	Card   string `json:"card"`
	Amount int64  `json:"amount"` // cents
}

// charge has the provider's answer waited for in a goroutine: one that hangs in
// spite of the client's timeout keeps no order waiting.
func (o *orders) charge(c charge) error {
	done := make(chan error, 1)
	go func() { done <- o.payment.call("POST", "/charges", c, nil) }()
	select {
	case err := <-done:
		if late := net.Error(nil); errors.As(err, &late) && late.Timeout() {
			return o.late()
		}
		return rpcError("charge card", err)
	case <-time.After(o.timeout + time.Second):
		return o.late()
	}
}

func (o *orders) late() error {
	return status.Errorf(codes.DeadlineExceeded, "payment provider did not answer within %s (支付超时)", o.timeout)
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

func (o *orders) save(order *orderpb.Order) error {
	text, err := json.Marshal(order)
	if err != nil {
		return err
	}
	return o.cache.Set(context.Background(), "order:"+order.Id, text, orderTTL).Err()
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
