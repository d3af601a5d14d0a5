// A cache in Redis: commands, pipelines, transactions, scripts, publishing, a
// key that is missing, a command that fails, calls without the context.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

func main() {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stdout, nil)))
	server, err := miniredis.Run()
	must(err)
	defer server.Close()
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), Protocol: 2})
	defer client.Close()

	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		must(client.Set(ctx, "order:"+r.PathValue("id"), "tea", 0).Err())
		v, err := client.Get(ctx, "order:"+r.PathValue("id")).Result()
		must(err)
		slog.InfoContext(ctx, "order read", "order", r.PathValue("id"))
		if err := client.Get(ctx, "nothing").Err(); !errors.Is(err, redis.Nil) {
			panic(err)
		}
		fmt.Fprintln(w, v)
	})
	mux.HandleFunc("GET /blind", func(w http.ResponseWriter, r *http.Request) {
		slog.Info("counted")
		fmt.Fprintln(w, client.Incr(context.Background(), "visits").Val())
	})
	mux.HandleFunc("POST /orders", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		_, err := client.Pipelined(ctx, func(p redis.Pipeliner) error {
			p.HSet(ctx, "order:8", "item", "tea")
			p.HSet(ctx, "order:9", "item", "coffee")
			p.SAdd(ctx, "orders", "8", "9")
			return nil
		})
		must(err)
		_, err = client.TxPipelined(ctx, func(p redis.Pipeliner) error {
			p.Incr(ctx, "orders:number")
			p.LPush(ctx, "orders:open", "8")
			return nil
		})
		must(err)
		must(client.Eval(ctx, "return redis.call('SCARD', KEYS[1])", []string{"orders"}).Err())
		must(client.Publish(ctx, "orders", "8").Err())
	})
	mux.HandleFunc("GET /wrong", func(w http.ResponseWriter, r *http.Request) {
		if err := client.Incr(r.Context(), "order:7").Err(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	// Clients of all kinds, made of options, of other clients, and of several servers.
	cluster := redis.NewClusterClient(&redis.ClusterOptions{Addrs: []string{server.Addr()}, Protocol: 2})
	defer cluster.Close()
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": server.Addr()}, Protocol: 2, HeartbeatFrequency: time.Hour})
	defer ring.Close()
	universal := redis.NewUniversalClient(&redis.UniversalOptions{Addrs: []string{server.Addr()}, Protocol: 2})
	defer universal.Close()
	mux.HandleFunc("GET /everywhere", func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		must(cluster.HGet(ctx, "order:8", "item").Err())
		must(ring.SCard(ctx, "orders").Err())
		must(universal.Exists(ctx, "orders").Err())
		must(client.WithTimeout(time.Minute).LLen(ctx, "orders:open").Err())
		conn := client.Conn()
		must(conn.Ping(ctx).Err())
		must(conn.Close())
		must(client.Watch(ctx, func(tx *redis.Tx) error { return tx.TTL(ctx, "orders").Err() }, "orders"))
	})
	// A goroutine without context, that gets connections which others have used.
	mux.HandleFunc("GET /aside", func(w http.ResponseWriter, r *http.Request) {
		var aside sync.WaitGroup
		aside.Go(func() {
			for range 3 {
				must(client.Decr(context.Background(), "visits").Err())
			}
		})
		aside.Wait()
	})
	shop := httptest.NewServer(mux)
	defer shop.Close()
	for _, c := range [][2]string{{"GET", "/orders/7"}, {"GET", "/blind"}, {"POST", "/orders"}, {"GET", "/wrong"}, {"GET", "/everywhere"}, {"GET", "/aside"}} {
		req, err := http.NewRequest(c[0], shop.URL+c[1], nil)
		must(err)
		resp, err := http.DefaultClient.Do(req)
		must(err)
		must(resp.Body.Close())
		fmt.Println(c[0], c[1], resp.StatusCode)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}
