// Command redis serves HTTP and asks the Redis server that is its argument, by a version of go-redis
// that the test puts in the place of this import. It prints its address.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/redis/go-redis/v9"
)

func main() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	client := redis.NewClient(&redis.Options{Addr: os.Args[1]})
	handle := func(path string, do func(context.Context) error) {
		http.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			if err := do(r.Context()); err != nil {
				http.Error(w, err.Error(), http.StatusTeapot)
			}
		})
	}
	handle("/set", func(ctx context.Context) error { return client.Set(ctx, "key", "value", 0).Err() })
	handle("/none", func(ctx context.Context) error { return client.Get(ctx, "nobody").Err() })
	handle("/wrong", func(ctx context.Context) error { return client.LPush(ctx, "key", "a").Err() })
	handle("/pipe", func(ctx context.Context) error {
		p := client.Pipeline()
		p.Get(ctx, "key")
		p.Incr(ctx, "n")
		p.Ping(ctx)
		_, err := p.Exec(ctx)
		return err
	})
	handle("/pipe-none", func(ctx context.Context) error {
		p := client.Pipeline()
		p.Get(ctx, "nobody")
		p.Ping(ctx)
		_, err := p.Exec(ctx)
		return err
	})
	handle("/tx", func(ctx context.Context) error {
		p := client.TxPipeline()
		p.Incr(ctx, "n")
		p.Incr(ctx, "n")
		_, err := p.Exec(ctx)
		return err
	})
	fmt.Println(l.Addr())
	_ = http.Serve(l, nil)
}
