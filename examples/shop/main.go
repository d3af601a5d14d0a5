// Command shop is a small web shop made of services that send their telemetry
// with Guanlan's SDK. One binary, one process a service:
//
//	load → gateway → order → inventory → SQLite
//	          │        │         └→ cache
//	          │        ├→ payment
//	          │        └→ cache
//	          └→ inventory
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"time"
)

const version = "1.0.0"

// config is the command line. Every service takes the same flags and uses what
// it needs, so that one set of addresses serves them all.
type config struct {
	gateway, order, inventory, payment, cache, cacheMetrics string

	accessLog string        // gateway: file; empty for none
	database  string        // inventory: file; created anew
	timeout   time.Duration // order: for the payment provider
	sales     int           // inventory: past sales, which make one search slow
	stocktake time.Duration // inventory: pause between two; 0 for never
	rate      float64       // load: requests per second
	burst     time.Duration // load: pause between bursts; 0 for none
}

var services = map[string]func(context.Context, config) error{
	"gateway":   runGateway,
	"order":     runOrder,
	"inventory": runInventory,
	"cache":     runCache,
	"payment":   runPayment,
	"load":      runLoad,
}

func main() {
	slog.SetDefault(slog.New(slog.NewJSONHandler(os.Stdout, nil)))
	var name string
	if len(os.Args) > 1 {
		name = os.Args[1]
	}
	run, ok := services[name]
	if !ok {
		fmt.Fprintln(os.Stderr, "usage: shop gateway|order|inventory|cache|payment|load [flags]")
		os.Exit(2)
	}
	if err := run(context.Background(), parse(name, os.Args[2:])); err != nil {
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
	f.StringVar(&c.cacheMetrics, "cache-metrics", "127.0.0.1:24385", "`address` of the cache's /metrics (Prometheus)")
	f.StringVar(&c.accessLog, "access-log", "", "gateway: append a line a request to `file`")
	f.StringVar(&c.database, "database", "shop.db", "inventory: SQLite `file`, created anew")
	f.DurationVar(&c.timeout, "payment-timeout", 800*time.Millisecond, "order: how `long` to wait for the payment provider")
	f.IntVar(&c.sales, "sales", 200_000, "inventory: `number` of past sales, which make one search slow")
	f.DurationVar(&c.stocktake, "stocktake", 20*time.Second, "inventory: `pause` between two stocktakes; 0 for none")
	f.Float64Var(&c.rate, "rate", 20, "load: `requests` per second")
	f.DurationVar(&c.burst, "burst", time.Minute, "load: `pause` between bursts; 0 for none")
	f.Parse(args)
	return c
}
