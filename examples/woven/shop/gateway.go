package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"runtime/debug"
	"time"

	"github.com/gin-gonic/gin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"github.com/guanlan-io/guanlan/examples/woven/shop/goods"
	"github.com/guanlan-io/guanlan/examples/woven/shop/orderpb"
)

// gateway is the shop's front door.
type gateway struct {
	orders    orderpb.OrdersClient
	inventory *client
	accessLog io.Writer
}

func runGateway(ctx context.Context, c config) error {
	conn, err := grpc.NewClient(c.order, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return fmt.Errorf("connect to order: %w", err)
	}
	defer conn.Close()

	g := &gateway{orders: orderpb.NewOrdersClient(conn), inventory: newClient(c.inventory), accessLog: io.Discard}
	if c.accessLog != "" {
		f, err := os.OpenFile(c.accessLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
		if err != nil {
			return fmt.Errorf("open access log: %w", err)
		}
		defer f.Close()
		g.accessLog = f
	}
	return serveHTTP(ctx, c.gateway, g.routes())
}

func (g *gateway) routes() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	r := gin.New()
	r.Use(g.writeAccessLog, gin.CustomRecoveryWithWriter(io.Discard, g.recover))
	r.GET("/api/products", g.search)
	r.GET("/api/products/:sku", g.product)
	r.GET("/api/products/:sku/price", g.price)
	r.POST("/api/orders", g.placeOrder)
	r.GET("/api/orders/:id", g.order)
	return r
}

// recover turns a panic in a handler into a 500 and keeps the stack.
func (g *gateway) recover(c *gin.Context, cause any) {
	slog.Error("handler panicked", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	c.AbortWithStatusJSON(http.StatusInternalServerError, gin.H{"error": "internal error"})
}

// writeAccessLog writes a plain line a request, as a web server would.
func (g *gateway) writeAccessLog(c *gin.Context) {
	start := time.Now()
	c.Next()
	fmt.Fprintf(g.accessLog, "%s %s %q %d %d %s\n",
		start.Format("2006-01-02T15:04:05.000000Z07:00"), c.ClientIP(),
		c.Request.Method+" "+c.Request.URL.RequestURI(), c.Writer.Status(), max(0, c.Writer.Size()),
		time.Since(start).Round(time.Microsecond))
}

func (g *gateway) product(c *gin.Context) {
	var p goods.Product
	if err := g.inventory.call("GET", "/products/"+url.PathEscape(c.Param("sku")), nil, &p); err != nil {
		g.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, p)
}

func (g *gateway) search(c *gin.Context) {
	var found []goods.Product
	if err := g.inventory.call("GET", "/products?"+c.Request.URL.RawQuery, nil, &found); err != nil {
		g.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, found)
}

func (g *gateway) price(c *gin.Context) {
	var p goods.Product
	if err := g.inventory.call("GET", "/products/"+url.PathEscape(c.Param("sku")), nil, &p); err != nil {
		g.fail(c, err)
		return
	}
	p.Price -= p.Price * percentOff(c.Query("coupon")) / 100
	c.JSON(http.StatusOK, p)
}

// percentOff returns what a coupon is worth; its first four letters name the
// campaign. That a shorter coupon panics is on purpose: there must be a bug to
// find.
func percentOff(coupon string) int64 {
	switch coupon[:4] {
	case "SALE":
		return 20
	case "TEA5":
		return 5
	}
	return 0
}

func (g *gateway) placeOrder(c *gin.Context) {
	var req struct {
		SKU      string `json:"sku" binding:"required"`
		Quantity int64  `json:"quantity"`
		City     string `json:"city"`
		Card     string `json:"card"`
	}
	if err := c.ShouldBindJSON(&req); err != nil {
		g.fail(c, &statusError{Status: http.StatusBadRequest, Message: err.Error()})
		return
	}
	order, err := g.orders.Place(c.Request.Context(), &orderpb.PlaceRequest{Sku: req.SKU, Quantity: req.Quantity, City: req.City, CardToken: req.Card})
	if err != nil {
		g.fail(c, err)
		return
	}
	slog.Info("order accepted", "order", order.Id, "sku", order.Sku, "city", order.City, "amount", order.Amount)
	c.JSON(http.StatusCreated, order)
}

func (g *gateway) order(c *gin.Context) {
	order, err := g.orders.Get(context.Background(), &orderpb.GetRequest{Id: c.Param("id")})
	if err != nil {
		g.fail(c, err)
		return
	}
	c.JSON(http.StatusOK, order)
}

// fail answers with what went wrong.
func (g *gateway) fail(c *gin.Context, err error) {
	answer := &statusError{Status: http.StatusInternalServerError, Message: err.Error()}
	if !errors.As(err, &answer) {
		s := status.Convert(err)
		answer.Message = s.Message()
		switch s.Code() {
		case codes.InvalidArgument:
			answer.Status = http.StatusBadRequest
		case codes.PermissionDenied:
			answer.Status = http.StatusPaymentRequired
		case codes.NotFound:
			answer.Status = http.StatusNotFound
		case codes.FailedPrecondition:
			answer.Status = http.StatusConflict
		case codes.ResourceExhausted, codes.Unavailable:
			answer.Status = http.StatusServiceUnavailable
		case codes.DeadlineExceeded:
			answer.Status = http.StatusGatewayTimeout
		}
	}
	if answer.Status >= 500 {
		c.Error(err)
		slog.Error("request failed", "route", c.FullPath(), "status", answer.Status, "error", err)
	} else {
		slog.Warn("request refused", "route", c.FullPath(), "status", answer.Status, "reason", answer.Message)
	}
	c.AbortWithStatusJSON(answer.Status, answer)
}
