// Command shop is a small web shop as a team has it before anyone thinks of
// observability: three services on net/http, Gin, gRPC, database/sql, go-redis,
// slog and zap, and nothing that would watch them. Much of it ignores its
// context.
//
//	gateway → order → inventory → SQLite
//	   │        │         └→ cache
//	   │        ├→ payment
//	   │        └→ cache
//	   └→ inventory
//
// The payment provider and the cache are not the shop's own: examples/shop, the
// same shop with Guanlan's SDK by hand, has programs that stand in for them.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// config is the command line. Every service takes the same flags and uses what
// it needs.
type config struct {
	gateway, order, inventory, payment, cache string

	accessLog string        // gateway: file; empty for none
	database  string        // inventory: file; created anew
	timeout   time.Duration // order: for the payment provider
	sales     int           // inventory: past sales, which make one search slow
	stocktake time.Duration // inventory: pause between two; 0 for never
}

var services = map[string]func(context.Context, config) error{
	"gateway":   runGateway,
	"order":     runOrder,
	"inventory": runInventory,
}

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	var name string
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	run, ok := services[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: shop gateway|order|inventory [flags]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse(name, os.Args[2:])); err != nil {
		slog.Error("stopped", "service", name, "error", err)
		os.Exit(1)
	}
}

func parse(service string, args []string) config {
	var c config
	f := flag.NewFlagSet("shop "+service, flag.ExitOnError)
	f.StringVar(&c.gateway, "gateway", "127.0.0.1:24380", "`address` of the gateway (HTTP)")
	f.StringVar(&c.order, "order", "127.0.0.1:24381", "`address` of the order service (gRPC)")
	f.StringVar(&c.inventory, "inventory", "127.0.0.1:24382", "`address` of the inventory service (HTTP)")
	f.StringVar(&c.payment, "payment", "127.0.0.1:24383", "`address` of the payment provider (HTTP)")
	f.StringVar(&c.cache, "cache", "127.0.0.1:24384", "`address` of the cache (Redis protocol)")
	f.StringVar(&c.accessLog, "access-log", "", "gateway: append a line a request to `file`")
	f.StringVar(&c.database, "database", "shop.db", "inventory: SQLite `file`, created anew")
	f.DurationVar(&c.timeout, "payment-timeout", 800*time.Millisecond, "order: how `long` to wait for the payment provider")
	f.IntVar(&c.sales, "sales", 200_000, "inventory: `number` of past sales, which make one search slow")
	f.DurationVar(&c.stocktake, "stocktake", 20*time.Second, "inventory: `pause` between two stocktakes; 0 for none")
	f.Parse(args)
	return c
}
